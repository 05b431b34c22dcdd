"""Train, calibrate and package models of the IDC patches."""
