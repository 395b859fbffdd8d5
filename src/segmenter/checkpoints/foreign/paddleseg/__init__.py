"""PaddleSeg: weights (`.pdparams`) and configs."""
