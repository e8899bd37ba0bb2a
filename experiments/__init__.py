"""The commands. Each is a thin file: it parses, joins the parts, and calls; each is a plain function for notebooks, too."""
