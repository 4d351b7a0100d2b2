"""The page's looks, light and dark, on a phone and on paper. Fonts are the reader's own; nothing is loaded.

Hues that people with any kind of colour vision tell apart (https://jfly.uni-koeln.de/color/): blue for the cold tier,
orange for the hot one; what needs a person also differs by shape, and lines by dashes.
"""

_LIGHT = """--page:#fbfaf8;--card:#fff;--ink:#1c2430;--soft:#5a6472;--rule:#e4e1db;--grid:#ece9e3;
--hot:#b4570a;--hot-band:#fbefe2;--cold:#1f5fa8;--cold-band:#e7f0f9;--bad:#b3261e;--bad-band:#fbe9e7;--late:#8a5a00;
--free:#dcd9d2;--area:#1f5fa822;
--c0:#1f5fa8;--c1:#b4570a;--c2:#0b7a5c;--c3:#9b3f86;--c4:#5a6472;--c5:#8a6d00;--c6:#2f7f9e;--c7:#b3261e;"""
_DARK = """--page:#12161c;--card:#1a2028;--ink:#e6e9ee;--soft:#9aa5b3;--rule:#2c343f;--grid:#262d37;
--hot:#f0a05a;--hot-band:#2f2419;--cold:#78b0ee;--cold-band:#1a2b3f;--bad:#ff8a80;--bad-band:#3a1f1e;--late:#e9bd5b;
--free:#323b47;--area:#78b0ee2b;
--c0:#78b0ee;--c1:#f0a05a;--c2:#5fcfa8;--c3:#e19bd0;--c4:#b3bcc8;--c5:#e3cc66;--c6:#7fd0ea;--c7:#ff8a80;"""
_DASHES = ("none", "none", "none", "none", "7 3", "7 3", "2 3", "2 3")

_PAGE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
header p.run{margin:0;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.35;font-weight:600;letter-spacing:-.01em;margin:.4rem 0 .4rem;text-wrap:pretty}
.needs{font-size:1.05rem;margin:0 0 1.6rem}.needs.bad{color:var(--bad);font-weight:600}
h2{font-size:1.1rem;font-weight:600;margin:3.2rem 0 .3rem}
h3{font-size:.95rem;font-weight:600;margin:1.6rem 0 .2rem;overflow-wrap:anywhere}
p{margin:.2rem 0 .9rem;max-width:46rem;overflow-wrap:anywhere}
.soft,figcaption{color:var(--soft);font-size:.875rem}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,monospace;background:var(--grid);border-radius:4px;padding:.1em .3em}
.alert{background:var(--bad-band);border-left:4px solid var(--bad);border-radius:4px;padding:.7rem 1rem;
margin:0 0 1.2rem;max-width:none}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));gap:.9rem;margin:0;padding:0}
.cards div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:.85rem 1rem}
.cards dt{color:var(--soft);font-size:.8rem}
.cards dd{margin:.1rem 0 0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.3}
.cards dd small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
.cards .bad dd{color:var(--bad)}
figure{margin:.8rem 0 0}
figcaption{margin-top:.4rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.5rem 0 .9rem;padding:0;font-size:.85rem;
color:var(--soft)}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
.legend svg{flex:none}
details{margin:.6rem 0;font-size:.875rem}
summary{cursor:pointer;color:var(--soft);width:max-content;max-width:100%}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;width:100%;margin:.5rem 0;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:500;text-align:left}
th,td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
td{overflow-wrap:anywhere}
th.n,td.n{text-align:right;white-space:nowrap}
.troubles{list-style:none;margin:.6rem 0;padding:0}
.troubles li{border-top:1px solid var(--rule);padding:.6rem 0;overflow-wrap:anywhere}
.troubles b{color:var(--bad)}
.troubles .path{display:block;font-size:.875rem;color:var(--soft)}
footer{margin-top:3.5rem;border-top:1px solid var(--rule);padding-top:1rem;color:var(--soft);font-size:.85rem}
footer dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}
footer dd{margin:0;overflow-wrap:anywhere}
.picture{display:block;overflow:visible}
.picture text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.picture text.name{fill:var(--ink);font-weight:600}
.plot{display:grid;grid-template-columns:62px minmax(0,1fr)}
.grid{stroke:var(--grid)}.axis{stroke:var(--rule)}
.hot{fill:var(--hot)}.cold{fill:var(--cold)}.deletable{fill:var(--hot);opacity:.5}.others{fill:var(--late)}
.elsewhere{fill:var(--soft)}.free{fill:var(--free)}
.hot-band{fill:var(--hot-band)}.cold-band{fill:var(--cold-band)}
.ring{fill:var(--page);stroke:var(--hot);stroke-width:2}
.late{fill:var(--late)}.cross{stroke:var(--bad);stroke-width:2.4;fill:none;stroke-linecap:round}
.hollow{fill:var(--page);stroke:var(--bad);stroke-width:2.2}.damaged{fill:var(--bad)}.pin{fill:var(--ink)}
.joint{stroke:var(--soft);stroke-width:1.5}.pale{opacity:.35}
.median{stroke:var(--ink);stroke-dasharray:5 4;opacity:.7}
.limit{stroke:var(--ink);stroke-width:2}
.line{fill:none;stroke-width:1.8;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.area{fill:var(--area)}
.best{fill:none;stroke:var(--ink);stroke-width:2}
.swatch{width:24px;height:10px}
@media(max-width:34rem){main{padding:1.4rem 1rem 3rem}h1{font-size:1.25rem}.spare{display:none}
.cards{grid-template-columns:1fr 1fr;gap:.6rem}.cards div{padding:.7rem .8rem}.cards dd{font-size:1.1rem}
footer dl{grid-template-columns:1fr}footer dd{margin-bottom:.4rem}}
@media print{main{max-width:none;padding:0}h2{break-after:avoid}figure,.cards div,.troubles li{break-inside:avoid}
body{font-size:12px}details:not([open]){display:none}.hot-band,.cold-band,rect,circle{print-color-adjust:exact}}
"""


def stylesheet() -> str:
    """All of it; dark where the reader's system is, light on paper."""
    lines = "".join(
        f".c{i}{{stroke:var(--c{i});stroke-dasharray:{dashes}}}.dot.c{i}{{fill:var(--c{i})}}"
        for i, dashes in enumerate(_DASHES)
    )
    return (
        f":root{{color-scheme:light dark;{_LIGHT}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n{_PAGE}{lines}\n"
    )
