"""lamina beside PyTorch, JAX and MLX on this machine: `python -m benchmarks --help`."""
