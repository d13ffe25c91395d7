"""Results in, Plotly figures out; one file a page."""
