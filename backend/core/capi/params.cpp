#include "capi/params.h"

#include "base/error.h"

namespace lamina::capi {

namespace {

constexpr const char* kKinds[] = {"an integer", "a real number", "a boolean", "a dtype",
                                  "a list of integers"};

FieldKind kind_of(const std::string& who, const lamina_param& p) {
  if (p.kind < 0 || p.kind > LAMINA_INTS)
    throw ValueError(who + ": parameter " + (p.name ? p.name : "?") + ": there is no kind " +
                     std::to_string(p.kind));
  constexpr FieldKind kinds[] = {FieldKind::integer, FieldKind::real, FieldKind::boolean,
                                 FieldKind::dtype, FieldKind::ints};
  return kinds[p.kind];
}

void add_value(Params& to, FieldKind kind, const lamina_param& p) {
  switch (kind) {
    case FieldKind::real:
      to.add_real(p.kind == LAMINA_INTEGER ? static_cast<double>(p.integer) : p.real);
      break;
    case FieldKind::ints:
      to.add_ints(Shape(p.ints, p.ints + p.count));
      break;
    case FieldKind::boolean:
      to.add(p.integer != 0);
      break;
    default:
      to.add(p.integer);
  }
}

}  // namespace

std::vector<CustomField> fields_from(const std::string& who, const lamina_param* params,
                                     size_t count) {
  std::vector<CustomField> out;
  for (size_t i = 0; i < count; ++i) {
    const lamina_param& p = params[i];
    if (!p.name || !*p.name) throw ValueError(who + ": a parameter has no name");
    CustomField field{p.name, kind_of(who, p), p.required != 0, {}};
    if (!field.required) add_value(field.value, field.kind, p);
    out.push_back(std::move(field));
  }
  return out;
}

Params params_from(const std::string& who, const std::vector<CustomField>& fields,
                   const lamina_param* params, size_t count) {
  std::vector<const lamina_param*> found(fields.size(), nullptr);
  for (size_t i = 0; i < count; ++i) {
    const lamina_param& p = params[i];
    size_t k = 0;
    while (k < fields.size() && (!p.name || fields[k].name != p.name)) ++k;
    if (k == fields.size()) {
      std::string names;
      for (const CustomField& f : fields) names += (names.empty() ? "" : ", ") + f.name;
      throw ValueError(who + ": no parameter is named " + (p.name ? p.name : "(null)") +
                       "; there are: " + (names.empty() ? "none" : names));
    }
    FieldKind given = kind_of(who, p);
    bool widened = fields[k].kind == FieldKind::real && given == FieldKind::integer;
    if (given != fields[k].kind && !widened)
      throw ValueError(who + ": parameter " + fields[k].name + " is " +
                       kKinds[static_cast<int>(fields[k].kind)] + ", not " + kKinds[p.kind]);
    found[k] = &p;
  }
  Params out;
  for (size_t k = 0; k < fields.size(); ++k) {
    if (found[k])
      add_value(out, fields[k].kind, *found[k]);
    else if (fields[k].required)
      throw ValueError(who + ": parameter " + fields[k].name + " is missing");
    else
      for (int64_t w : fields[k].value.words()) out.add(w);
  }
  return out;
}

ParamList param_list(const std::vector<CustomField>& fields, const Params& params) {
  ParamList out;
  out.ints.reserve(fields.size());
  Params::Reader r = params.read();
  for (const CustomField& f : fields) {
    lamina_param p{f.name.c_str(), static_cast<lamina_kind>(f.kind), 0, 0, 0, nullptr, 0};
    if (f.kind == FieldKind::real) {
      p.real = r.real();
    } else if (f.kind == FieldKind::ints) {
      out.ints.push_back(r.ints());
      p.ints = out.ints.back().data();
      p.count = out.ints.back().size();
    } else {
      p.integer = r.integer();
    }
    out.list.push_back(p);
  }
  return out;
}

}  // namespace lamina::capi
