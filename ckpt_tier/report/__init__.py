"""The report: a whole run on one page that needs no network, or as one JSON document."""
