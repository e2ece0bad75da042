# The Metal host built on Linux against the double of Metal's protocols: the C++ cases of
# tests/devices/metal, and a module like lamina._core that has the device. Included when
# LAMINA_METAL_DOUBLE is on; nothing of it is ever shipped.
set(here ${CMAKE_SOURCE_DIR}/tests/metal_double)

find_program(LAMINA_OBJCXX NAMES clang++-19 clang++-18 clang++-17 clang++ REQUIRED)
set(CMAKE_OBJCXX_COMPILER ${LAMINA_OBJCXX})
set(CMAKE_OBJCXX_STANDARD 20)
set(CMAKE_OBJCXX_EXTENSIONS OFF)
enable_language(OBJCXX)

# GCC's folder of headers has objc/; its library folder, libobjc.
execute_process(COMMAND g++ -print-file-name=include OUTPUT_VARIABLE gcc_include
                OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND g++ -print-file-name=libobjc.so OUTPUT_VARIABLE objc_library
                OUTPUT_STRIP_TRAILING_WHITESPACE)

file(GLOB double_sources CONFIGURE_DEPENDS ${here}/*.cpp ${here}/*.mm)
add_library(metal_double OBJECT EXCLUDE_FROM_ALL ${double_sources}
            ${CMAKE_SOURCE_DIR}/backend/core/devices/metal/host.mm)
target_include_directories(metal_double PRIVATE ${here} ${CMAKE_SOURCE_DIR}/backend/core)
target_include_directories(metal_double SYSTEM PRIVATE ${here}/include /usr/include/GNUstep
                                                       ${gcc_include})
target_compile_options(metal_double PRIVATE ${common} -Wno-unknown-warning-option
  $<$<COMPILE_LANGUAGE:OBJCXX>:-fblocks;-fobjc-runtime=gcc;-fconstant-string-class=NSConstantString>)
# BlocksRuntime first: the _Block_copy of GNUstep's own Foundation leaves blocks on the stack.
set(objc_libraries BlocksRuntime gnustep-base ${objc_library})

file(GLOB metal_cases CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/devices/metal/*.cpp)
add_executable(metal_cases EXCLUDE_FROM_ALL ${metal_cases} $<TARGET_OBJECTS:metal_double>
               $<TARGET_OBJECTS:core>)
target_compile_options(metal_cases PRIVATE ${common})
target_include_directories(metal_cases PRIVATE ${here} ${CMAKE_SOURCE_DIR}/backend/core
                                               ${CMAKE_SOURCE_DIR}/tests/devices/metal)
target_link_libraries(metal_cases PRIVATE ${libraries} ${objc_libraries})
target_link_options(metal_cases PRIVATE ${link_options})

# lamina._core with the device in it, in a folder of its own: imported through a tree of links.
add_library(metal_module MODULE EXCLUDE_FROM_ALL $<TARGET_OBJECTS:bindings> $<TARGET_OBJECTS:core>
                                                 $<TARGET_OBJECTS:metal_double>)
set_target_properties(metal_module PROPERTIES PREFIX "" OUTPUT_NAME _core
                      SUFFIX "${LAMINA_EXT_SUFFIX}" LINKER_LANGUAGE CXX
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/metal_module)
target_link_libraries(metal_module PRIVATE ${libraries} ${objc_libraries})
target_link_options(metal_module PRIVATE ${link_options})

add_custom_target(metal_double_all DEPENDS metal_cases metal_module)
