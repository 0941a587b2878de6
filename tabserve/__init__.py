"""The console command `tabserve`: the command lines of all packages under one name."""
