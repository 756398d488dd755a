"""Names of the files that a data set of the challenge has beside its scans."""

CALIBRATION_FILE = "calib_matrix.csv"
KEYS_FILE = "dataset_keys.h5"
