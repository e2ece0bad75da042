"""Where lamina's outcome of a program differs from MLX's on purpose, or because MLX's is a fault.

Rows are a pattern of programs, one of what `both.disagreement` says of them, and the reason. Those
that a program's author should know of are in docs/differences.md.
"""

from __future__ import annotations

NUMPY = r"np\.(float32|int64|ones)\("

MEANT: list[tuple[str, str, str]] = [
    # Arguments.
    (r"full.*-1", "no error, MLX has ValueError.*overflow", "a dtype named: negative numbers wrap"),
    (r"mx\.full\(", r"dtype \w+, MLX has", "full gives the dtype that is asked for"),
    (r"2\*\*40|mx\.array\(\[?300", "does not fit", "what no dtype holds is an error"),
    (r"count_nonzero\(.*, 0\)", "positional", "the axis is a keyword, as documented"),
    (r"concatenate\(a\(", "expected a list", "one array is no list of arrays"),
    (r"repeat\(.*-1, ", "must not be negative", "which of two mistakes is named"),
    (r"flip\(.*\(0, 0\)", "twice", "an axis named twice is a mistake"),
    # NumPy's arrays among arrays.
    (NUMPY, "dtype|values|DtypeError", "floats of NumPy stay floats beside integers"),
    (r"^np\.", "a array, MLX has a (ndarray|float64)", "an array beside NumPy gives an array"),
    (r"np\.array\(.*bfloat16|np\.asarray\(.*bfloat16", "no error", "bfloat16 is widened for NumPy"),
    (r"memoryview\(.*bfloat16", "no buffer format", "PEP 3118 has no bfloat16"),
    (r"from_dlpack\(np", "float64", "memory that is adopted keeps its dtype"),
    (r"\[::-1\]", "no error.*negative strides", "NumPy's reversed arrays are copied"),
    # Numbers.
    (r"sign\(edge", r"values \[nan\], MLX has \[0", "the sign of NaN is NaN, as in NumPy"),
    (r"pow|\*\* -", r"values \[1.*MLX has \[0", "1 to a negative power is 1"),
    (r"(shift\(.*, |<< |>> )-\d", "values", "a shift below zero or past the width gives zero"),
    (r"(remainder|divmod)\(edge", "values", "the remainder of a division by zero is zero"),
    (r"logaddexp.*float16", "values", "MLX rounds in between"),
    (r"logsumexp\(a\('(bool_|u?int)", "values", "MLX overflows where the largest is subtracted"),
    (r"logsumexp\(a\('float32', 2, 0", "no error", "an empty axis of an empty result"),
    (r"(all|prod)\(a\('float32', (2, 0|0, 2)", "values", "MLX reads memory that nobody wrote"),
    (r"(mean|var|std)\(edge\('u?int", "values", "sums are wide"),
    (r"full\(.*2\.5.*-1", "shape must be", "which of two mistakes is named"),
    (r"segmented_mm.*5, 3", "inner sizes differ", "sizes that do not fit are a mistake"),
    (r"array_namespace", "lamina.array_api", "the namespace has the standard's signatures"),
    (r"flags\.writeable", "False, MLX has True", "memory that NumPy looks into is read-only"),
    (r"take\(.*, -1, axis=-1\)", "no error", "an index from the end, alone or among others"),
    (r"nan_to_num", "no error", "float64 has NaN too"),
    (r"(cum|mean|var|std|prod|sum).*float16", "values", "sums are in float32 and round once"),
    (r"cummax.*axis=1", "values", "the gradient goes where the largest element is"),
    # Indices.
    (
        r"x\[(3|-4|0, 0, 0)\]|at\[(3|-4|0)\]",
        "out of bounds|BoundsError|too many",
        "indices are checked",
    ),
    (r"x\[[^\]]*\] = 2\.7|x\[(None|\.\.\.|\(\))\]", "dtype int32", "an assignment keeps the dtype"),
    (r"x\[None\] (\+|\*)=", "no error", "the value broadcasts as it was selected"),
    (r"i, :, None", "", "axes of an assignment are those of the selection, as in NumPy"),
    # Transforms.
    (
        r"grad\(f\)\(3\.0\)|'k': 3|1\.0, mx|: 3\.0\)|, 2\.0\)",
        "no attribute|no error",
        "numbers in trees are left alone",
    ),
    (r"grad\(f\)\(a\('int32'", "need floating", "integers have no gradient"),
    (r"vjp\(", "1 outputs but 2", "a cotangent too many is a mistake"),
    (r"jvp\(", "no error.*not implemented", "forward derivatives are there"),
    (r"in_axes=\(\{", "no error", "axes may be a tree of their own"),
    # Products and linear algebra.
    (r"kron", "no error.*empty", "empty factors give an empty product"),
    (r"addmm", "no error", "c broadcasts, and vectors are taken"),
    (r"einsum_path\('ij,jk->z'", "not unique", "a result's letter must come from somewhere"),
    (
        r"conv_transpose.*padding=2",
        "shape|no error",
        "MLX loses places when padding exceeds the kernel",
    ),
    (r"norm\(a\('(int32|float16)'", "no error", "integers are taken as floats"),
    (r"norm\(a\('complex64'", "float32, MLX has complex64", "norms are real"),
    (r"cholesky\(a", "LinAlgError", "a matrix that is not positive definite is an error"),
    (r"linalg\.svd\(a", "values", "singular vectors are unique up to their sign"),
    (r"fft\.i?r?fftn\(.*s=", "no error", "sizes without axes are those of the last axes"),
    # The rest.
    (r"random\.state", "_RandomState", "a list"),
    (r"load\(.*safetensors|tree_merge|MultiOptimizer", "keys", "the order of a dict"),
    (r"mx\.quantize\(", "a tuple, MLX has a list", "a tuple, as documented"),
    (r"pickle|deepcopy", "no error|float64", "dtypes and float64 are pickled"),
    (r"\.item$", "method", "a method by another name"),
    (r"Dropout\(0\.3\)", "0.30000000000000004", "p is shown as it was given"),
    (r"m\.unfreeze\(\); names", "running", "running means stay frozen"),
    (r"update\(\[1, 2\]\)", "KeyError", "a ValueError says what is wrong"),
    (r"tree_merge", "no error", "an empty list gives way"),
]
