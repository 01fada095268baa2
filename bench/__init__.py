"""What `make bench` measures; every figure beside a floor of the same run."""
