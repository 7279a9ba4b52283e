"""The style of a report: light and dark, from 320 px on; fonts are those of the reader's system."""

CSS = """
:root { color-scheme: light dark;
  --ground: #fbfbf9; --raised: #ffffff; --ink: #1b1e23; --soft: #545b66; --line: #dcdfe3; --fine: #eceef0;
  --accent: #0a5fb4; --shade: 10 95 180; --good: #0a6b47; --bad: #b3261e; --even: #545b66; --open: #7d5a00;
  --c0: #0a5fb4; --c1: #c2410c; --c2: #0a7a55; --c3: #6b7280; --c4: #9333a8; --c5: #8a6800; --c6: #0e7490;
  --c7: #be185d; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171b; --raised: #1b1f25; --ink: #e8eaed; --soft: #a9b1bc; --line: #353b44; --fine: #272c33;
  --accent: #7db8f5; --shade: 125 184 245; --good: #5fd0a0; --bad: #ff9a8f; --even: #a9b1bc;
  --open: #e6bf5a;
  --c0: #6fb1f5; --c1: #ff9863; --c2: #4fd0a0; --c3: #a3acb8; --c4: #dd9bf0; --c5: #e0be4c; --c6: #5fd0e4;
  --c7: #ff8fbf; } }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); --dash: 7 3; } .s2 { --c: var(--c2); --dash: 2 3; }
.s3 { --c: var(--c3); --dash: 10 3 2 3; } .s4 { --c: var(--c4); --dash: 4 2; }
.s5 { --c: var(--c5); --dash: 1 2; }
.s6 { --c: var(--c6); --dash: 12 4; } .s7 { --c: var(--c7); --dash: 6 2 1 2 1 2; }
.good { --c: var(--good); } .bad { --c: var(--bad); } .even { --c: var(--even); }
.open { --c: var(--open); }

* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
code, pre { font: 0.85em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem; z-index: 9; }
header, main { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.25rem; }
.kind { margin: 0; color: var(--soft); font-size: 0.9rem; }
h1 { margin: 0.1rem 0 0.4rem; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 0.35rem; font-size: 1.35rem; line-height: 1.3; }
h4 { margin: 1.4rem 0 0.4rem; font-size: 0.95rem; overflow-wrap: anywhere; }
.lead { margin: 0 0 1.1rem; max-width: 46rem; color: var(--soft); }
.about { margin: 0 0 1.25rem; color: var(--soft); max-width: 46rem; overflow-wrap: anywhere; }
.note, .missing { color: var(--soft); font-size: 0.875rem; max-width: 46rem; overflow-wrap: anywhere; }
.missing { padding-left: 0.75rem; border-left: 3px solid var(--line); }
section { padding: 1.9rem 0; border-top: 1px solid var(--line); }
main > section:first-child { border-top: 0; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.75rem;
  margin: 0 0 1.5rem; padding: 0; list-style: none; }
.tiles li { padding: 0.8rem 1rem 0.7rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 10px; }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tiles span { display: block; font-size: 0.85rem; } .tiles small { color: var(--soft); font-size: 0.8rem; }
.tiles b.good, .tiles b.bad { color: var(--c); }

nav { position: sticky; top: 0; z-index: 5; background: var(--ground);
  border-bottom: 1px solid var(--line); }
nav ol { display: flex; gap: 0 0.2rem; max-width: 70rem; margin: 0 auto; padding: 0.15rem 0.9rem;
  overflow-x: auto; list-style: none; scrollbar-width: none; } nav ol::-webkit-scrollbar { display: none; }
nav a { display: block; padding: 0.5rem 0.35rem; color: var(--soft); font-size: 0.875rem;
  white-space: nowrap;
  text-decoration: none; } nav a:hover { color: var(--accent); text-decoration: underline; }

.scroll { overflow-x: auto; margin: 0 0 1.25rem; border: 1px solid var(--line); border-radius: 10px;
  background: linear-gradient(to left, var(--raised) 40%, transparent) right / 2rem 100% no-repeat local,
    linear-gradient(to left, var(--line), transparent) right / 0.8rem 100% no-repeat scroll, var(--raised);
  }
pre.scroll { padding: 0.9rem 1rem; margin: 0.6rem 0; max-height: 24rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { padding: 0.8rem 0 0.5rem; text-align: left; color: var(--soft); font-size: 0.85rem; }
caption span { position: sticky; left: 1rem; display: inline-block; margin-left: 1rem;
  max-width: calc(min(70rem, 100vw) - 5rem); overflow-wrap: anywhere; }
th, td { padding: 0.42rem 0.8rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; } thead th { color: var(--soft); font-size: 0.8rem; vertical-align: bottom; }
th:first-child, td.word, th.word { text-align: left; }
tbody tr { border-top: 1px solid var(--fine); } th:first-child { padding-left: 1rem; }
tbody th { position: sticky; left: 0; background: var(--raised); max-width: 16rem; min-width: 5rem;
  white-space: nowrap; }
tbody th.long { white-space: normal; min-width: 9rem; overflow-wrap: anywhere; }
.shaded { background: rgb(var(--shade) / calc(0.04 + 0.34 * var(--k))); }
.confusion th, .confusion td { padding: 0.42rem 0.6rem; }
.confusion tbody tr:last-child, .confusion th:last-child, .confusion td:last-child { font-style: italic; }
.confusion td { border-left: 1px solid var(--fine); min-width: 3rem; }

.legend { display: flex; flex-wrap: wrap; gap: 0.35rem 1.2rem; margin: 0.4rem 0 0.9rem; padding: 0;
  list-style: none;
  font-size: 0.875rem; } .legend li { overflow-wrap: anywhere; }
.swatch { width: 28px; height: 12px; margin-right: 0.45rem; vertical-align: -1px; overflow: visible; }
.panels + .scroll, .panels + details, .panels + p, .row + p { margin-top: 1.1rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: 1rem; }
figure { margin: 0; min-width: 0; }
.panel { padding: 0.7rem 0.8rem 0.5rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 10px; }
.panel figcaption { margin-bottom: 0.35rem; font-size: 0.9rem; line-height: 1.35; overflow-wrap: anywhere; }
figcaption span { color: var(--soft); font-size: 0.8rem; }
.panel figcaption span { display: block; }
.chart { display: block; width: 100%; height: auto; max-width: 30rem; }
.chart text { font-size: 11px; fill: var(--soft); } .end { text-anchor: end; } .mid { text-anchor: middle; }
.chart .tag { fill: var(--ink); text-anchor: middle; paint-order: stroke; stroke: var(--raised);
  stroke-width: 3px; }
.grid { stroke: var(--fine); } .axis { stroke: var(--soft); }
.line { fill: none; stroke: var(--c, var(--ink)); stroke-width: 2; stroke-dasharray: var(--dash, none);
  stroke-linejoin: round; } .line.s0 { stroke-width: 2.6; }
.line.ideal { --c: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3; }
.dot { fill: var(--c); stroke: var(--raised); stroke-width: 1.5; }
.dot.faint { fill-opacity: 0.45; stroke: none; }
.dot.large { stroke-width: 2; r: 6px; } .dot.small { r: 2.5px; }
.bar { fill: var(--c); fill-opacity: 0.55; } .bar.pale { fill-opacity: 0.2; }
.bar.solid { fill-opacity: 0.8; }
.whisker { fill: none; stroke: var(--c); stroke-width: 1.4; }

.strips { margin: 0 0 1.4rem; padding: 0.3rem 1rem; list-style: none; background: var(--raised);
  border: 1px solid var(--line); border-radius: 10px; }
.strips li { display: grid; grid-template-columns: minmax(8rem, 15rem) 1fr 8.5rem 7.5rem; gap: 0 1rem;
  align-items: center; padding: 0.3rem 0; border-top: 1px solid var(--fine); }
.strips li:first-child { border-top: 0; } .name { overflow-wrap: anywhere; line-height: 1.3; }
.strips small { display: block; color: var(--soft); font-size: 0.78rem; font-weight: 400; }
.strips .value { text-align: right; font-variant-numeric: tabular-nums; line-height: 1.3;
  font-size: 0.9rem; }
.strips .note { font-size: 0.8rem; }
.strip { display: block; width: 100%; height: 2.4rem; overflow: visible; }
.strip path { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke: var(--c); }
.strip .band { fill: var(--fine); } .strip .zero { stroke: var(--soft); stroke-width: 1;
  stroke-dasharray: 2 3; }
.strip .span { stroke-width: 3; } .strip .mean { stroke-width: 11; }
.strip .seed { stroke-width: 6; opacity: 0.55; }
.strip .middle { stroke-width: 3; stroke-linecap: butt; }
.ticks { position: relative; height: 1.3rem; font-size: 0.75rem; color: var(--soft); }
.ticks span { position: absolute; transform: translateX(-50%); font-variant-numeric: tabular-nums; }
.strips .label { color: var(--soft); font-size: 0.8rem; }
.badge { display: inline-block; padding: 0.05rem 0.55rem; border: 1px solid var(--c); border-radius: 99px;
  color: var(--c); font-size: 0.8rem; white-space: nowrap; }

details { margin: 0 0 0.75rem; } summary { padding: 0.4rem 0; cursor: pointer; font-weight: 600; }
.photos { margin-bottom: 1.2rem; } .photos h4 { color: var(--soft); font-weight: 500; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 11.5rem), 1fr));
  gap: 0.75rem; }
.row figcaption { font-size: 0.85rem; line-height: 1.35; padding-top: 0.25rem; overflow-wrap: anywhere; }
.photo { display: block; width: 100%; height: auto; border-radius: 6px; background: var(--fine); }
.store { position: absolute; }
.box { fill: none; stroke-width: 5; --c: #35b4ff; stroke: var(--c); }
.box.false { --c: #ff5a1f; stroke-dasharray: 11 5; } .box.missed { --c: #ffe04a; stroke-dasharray: 3 5; }
.box.ignored { --c: #c8c8c8; } .photo .name { font-size: 27px; font-weight: 600; fill: #fff;
  paint-order: stroke;
  stroke: #10141a; stroke-width: 6px; stroke-linejoin: round; } .swatch .box { stroke-width: 2.5; }
.legend .box.missed { --c: #967a00; }
.map { display: block; width: 100%; max-width: 20rem; aspect-ratio: 1; margin: 0 auto 0.4rem;
  border: 1px solid var(--line); border-radius: 6px; }
table.text td.word { white-space: normal; min-width: 11rem; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: minmax(6rem, 10rem) 1fr; gap: 0.35rem 1rem; margin: 0 0 1rem;
  font-size: 0.9rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
footer { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; color: var(--soft);
  font-size: 0.85rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
@media (max-width: 44rem) {
  h1 { font-size: 1.5rem; } .tiles { grid-template-columns: 1fr 1fr; } header { padding-top: 1.4rem; }
  .strips li { grid-template-columns: 1fr auto; } .strips .draw { grid-column: 1 / -1; grid-row: 2; }
  .strips .value { grid-column: 1; text-align: left; } .strips .note { grid-column: 2; text-align: right; }
  .strips .value small { display: inline; margin-left: 0.5rem; }
  .strips .name { grid-column: 1 / -1; } .row { grid-template-columns: 1fr 1fr; }
  .photo .name { font-size: 30px; } .facts { grid-template-columns: 1fr; gap: 0; }
dd { margin-bottom: 0.6rem; }
  tbody th { max-width: 8.5rem; white-space: normal; } th, td { padding-left: 0.6rem; padding-right: 0.6rem; }
}
@media (min-width: 44rem) { nav ol { flex-wrap: wrap; } }
@media print { nav { display: none; } section { break-inside: auto; } figure { break-inside: avoid; } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
