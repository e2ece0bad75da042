// Names in kernel text: which are free for arguments, and which a text mentions.
#pragma once

#include <string>

#include "kernels/text.h"

namespace lamina {

bool is_identifier(const std::string& s);
// What the word means to the compilers that read the text (of Metal's text, CUDA's too) or to
// lamina, so that no argument can have it for its name; empty where it is free.
std::string taken_as(const std::string& name, Dialect dialect);
// The text with blanks in place of its comments; lines and lengths stay.
std::string without_comments(const std::string& text);
// Whether `name` stands in the text as an identifier of its own, comments included.
bool mentions(const std::string& text, const std::string& name);

}  // namespace lamina
