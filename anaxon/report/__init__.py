"""Reports: for each job a page and its figures; `html`, `style`, `network` and `speech` are what they share."""
