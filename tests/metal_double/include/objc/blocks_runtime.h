// GNUstep's headers ask for this name when blocks are on.
#include <Block.h>
