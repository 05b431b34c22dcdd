"""Train, calibrate and package models of the IDC patches."""

import os

# Read by TensorFlow when it is imported, which every module here may be the first to do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
