"""`python -m wsi_idc` is `wsi-idc`."""

from wsi_idc.cli import main

main()
