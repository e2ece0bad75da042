// kernels/: the table of formulas and what is written of it.
#include <cctype>
#include <set>

#include "base/error.h"
#include "check.h"
#include "kernels/formulas.h"
#include "random_kernel.h"

namespace lamina::test {

namespace {

// Reads an expression: conditional > binary > unary > $i, number, name(arguments), (expression).
class ExpressionReader {
 public:
  explicit ExpressionReader(const std::string& text) : text_(text) {}

  void read() {
    expression();
    CHECK_EQ(at_, text_.size());
  }
  std::set<int> inputs;
  std::set<std::string> functions;

 private:
  void space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool accept(const std::string& word) {
    space();
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }
  void expression() {
    binary();
    if (!accept("?")) return;
    expression();
    CHECK(accept(":"));
    expression();
  }
  void binary() {
    unary();
    static const char* operators[] = {"<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+",
                                      "-",  "*",  "/",  "%",  "<",  ">",  "&",  "|",  "^"};
    for (bool more = true; more;) {
      more = false;
      for (const char* op : operators) {
        if (!accept(op)) continue;
        unary();
        more = true;
        break;
      }
    }
  }
  void unary() {
    while (accept("-") || accept("!") || accept("~")) {
    }
    primary();
  }
  void primary() {
    space();
    CHECK(at_ < text_.size());
    if (accept("(")) {
      expression();
      CHECK(accept(")"));
    } else if (accept("$")) {
      inputs.insert(number());
    } else if (std::isdigit(static_cast<unsigned char>(text_[at_]))) {
      number();
    } else {
      size_t start = at_;
      while (at_ < text_.size() &&
             (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_'))
        ++at_;
      CHECK(at_ > start);
      functions.insert(text_.substr(start, at_ - start));
      CHECK(accept("("));
      do expression();
      while (accept(","));
      CHECK(accept(")"));
    }
  }
  int number() {
    size_t used = 0;
    double value = std::stod(text_.substr(at_), &used);
    at_ += used;
    return static_cast<int>(value);
  }

  std::string text_;
  size_t at_ = 0;
};

}  // namespace

TEST(every_formula_is_an_expression_of_its_inputs) {
  std::set<std::string> names;
  for (size_t id = 0; id < formulas().size(); ++id) {
    const Formula& f = formulas()[id];
    NOTE(std::string(f.info.name) + ": " + f.expr);
    CHECK(names.insert(f.info.name).second);
    CHECK_EQ(formula_id(f.info.name), id);
    ExpressionReader reader(f.expr);
    reader.read();
    for (int input = 0; input < f.arity; ++input) CHECK(reader.inputs.count(input));
    CHECK_EQ(static_cast<int>(reader.inputs.size()), f.arity);
    CHECK(f.info.flops >= 0 && f.info.low < f.info.high);
    CHECK(f.info.types != 0 && f.info.doc && f.info.numpy);
  }
  // A function in an expression is a row, so that a reader can look it up.
  for (const Formula& f : formulas()) {
    ExpressionReader reader(f.expr);
    reader.read();
    for (const std::string& function : reader.functions) {
      NOTE(std::string(f.info.name) + " calls " + function);
      CHECK(names.count(function));
    }
  }
  CHECK_THROWS(InternalError, formula_id("no such row"), "no such row");
}

TEST(a_kernel_is_written_line_by_line) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomKernel made(seed);
    const Kernel& kernel = made.kernel;
    std::string text = to_text(kernel);
    NOTE(text);
    std::istringstream lines(text);
    std::string line;
    CHECK(std::getline(lines, line));
    CHECK(line.ends_with(" over " + to_string(kernel.domain)));
    for (size_t i = 0; i < kernel.instrs.size(); ++i) {
      const Instr& in = kernel.instrs[i];
      CHECK(std::getline(lines, line));
      std::string value = "v" + std::to_string(i) + ": " + name_of(in.dtype);
      if (in.code != Code::store) CHECK(line.starts_with(value));
      for (int32_t source : in.src)
        if (source >= 0) CHECK(line.find("v" + std::to_string(source)) != line.npos);
      if (in.code == Code::load || in.code == Code::store)
        CHECK(line.find("a" + std::to_string(in.index) + ": " +
                        name_of(kernel.args[in.index].dtype)) != line.npos);
      if (in.code == Code::op) CHECK(line.find(formulas()[in.op].info.name) != line.npos);
    }
    CHECK(!std::getline(lines, line));
  }
}

}  // namespace lamina::test
