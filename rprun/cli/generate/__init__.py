"""Every file that is generated from the command line's definition is rendered by a pure function in here."""
