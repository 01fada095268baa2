"""The control process: the broker on one side, the data process on the other."""
