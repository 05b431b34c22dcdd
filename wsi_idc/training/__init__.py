"""Train, calibrate and package models of the IDC patches."""

import logging
import os

# Read by TensorFlow when it is imported, which every module here may be the first to do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each network of a search, or of folds, is compiled once: what TensorFlow takes for a fault of the program, and says in
# paragraphs of advice to whoever wrote it.
logging.getLogger("tensorflow").addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())
