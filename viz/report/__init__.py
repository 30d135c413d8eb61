"""The report page: one HTML file with everything about a graph, and the shell that pages share."""
