"""`ckpt-tier report`: one page about a run. `data` (what is told), `pictures` (SVG), `page` (HTML); all of it pure."""
