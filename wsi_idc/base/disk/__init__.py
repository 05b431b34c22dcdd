"""What disks and network drives do other than what is asked of them."""
