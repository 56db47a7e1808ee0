"""The style of the page: system fonts, one colour for data and one for warnings, in light, in dark and on paper."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5a6370;--rule:#dfe3e8;--wash:#f6f7f9;
--data:#2559a7;--data-area:#2559a733;--second:#8a6d1f;--limit:#b3261e;--good:#1a6b43;--fair:#8a5a00;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--soft:#9aa4b1;--rule:#2c323a;--wash:#1b1f25;
--data:#7fb0f5;--data-area:#7fb0f540;--second:#d9b659;--limit:#f2877f;--good:#6fcf9b;--fair:#e3b25a;--bad:#f2877f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header,main,footer{max-width:58rem;margin:0 auto;padding:0 1rem}
header{padding-top:2.5rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.2rem;line-height:1.3;margin:0 0 .75rem;padding-top:1.75rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:0 0 .75rem;max-width:44rem}
section{margin-top:2.25rem}
a{color:var(--data)}
code{font:.88em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code,bdi,.pre,tspan{unicode-bidi:isolate}
.hex{color:var(--soft)}
.number{color:var(--soft);font-weight:400;margin-right:.6rem;font-variant-numeric:tabular-nums}
.figures{white-space:nowrap;overflow-wrap:normal}
.quiet{color:var(--soft);font-size:.875rem}
.pre{white-space:pre-wrap}
nav ol{list-style:none;margin:1rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;font-size:.875rem}
nav a{display:inline-block;padding:.3rem 0;text-decoration:none}
nav a:hover{text-decoration:underline}
.verdict{border-left:4px solid var(--tone);padding:.1rem 0 .1rem 1rem;margin:0 0 1.25rem}
.verdict strong{display:block;font-size:1.35rem;line-height:1.3;color:var(--tone)}
.verdict p{margin:.25rem 0 0}
.open{--tone:var(--ink)}.verified,.held{--tone:var(--good)}.consistent{--tone:var(--fair)}.refuted{--tone:var(--bad)}
.word{color:var(--tone);font-weight:600}
.claim{font-size:1.08rem;border-left:4px solid var(--data);padding-left:1rem;margin:0 0 1rem;max-width:46rem}
.claim p{margin:0}
.claim .quiet{margin-top:.35rem}
.facts{margin:0 0 1rem;max-width:52rem}
.facts>div{display:grid;grid-template-columns:11rem 1fr;gap:0 1rem;padding:.35rem 0;border-bottom:1px solid var(--rule)}
.facts>div:last-child{border-bottom:0}
dt{color:var(--soft)}dd{margin:0;min-width:0}
.facts dd p:last-child{margin:0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr));gap:1rem;margin-bottom:1rem}
.stack{display:grid;grid-template-columns:minmax(0,1fr);gap:1rem;margin-bottom:1rem}
.card{background:var(--wash);border-radius:6px;padding:.9rem 1rem;min-width:0}
.card h4{margin:0;font-size:.875rem;font-weight:400;color:var(--soft)}
.card .figure{font-size:1.5rem;line-height:1.3;margin:.15rem 0;font-variant-numeric:tabular-nums}
.card p{margin:0}
.card .facts{margin:0;max-width:none;columns:2 17rem;column-gap:2rem}
.card .facts>div{grid-template-columns:11rem 1fr;break-inside:avoid}
.card .facts>div:last-child{border-bottom:1px solid var(--rule)}
.card h3{margin:0 0 .4rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1.5rem 2rem}
figure{margin:0;min-width:0}
figcaption{font-size:.875rem;line-height:1.45;margin-bottom:.35rem}
figcaption strong{display:block;font-weight:600}
.key{color:var(--soft);margin-right:.9rem;white-space:nowrap}
.swatch{display:inline-block;width:1.1rem;height:0;border-top:2px solid var(--data);vertical-align:middle;
margin-right:.35rem}
.swatch.limit{border-top-style:dashed;border-color:var(--limit)}
.swatch.second{border-top-style:dotted;border-color:var(--second)}
.swatch.mark{width:0;height:.9rem;border-top:0;border-left:2px solid var(--limit)}
.swatch.own{width:0;height:.9rem;border-top:0;border-left:2px dashed var(--data)}
.swatch.bar{height:.6rem;border:0;background:var(--data)}
.swatch.spread{height:.6rem;border:0;background:var(--data-area)}
svg{display:block;width:100%;height:auto;max-width:30rem}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
svg .name{fill:var(--ink)}
.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.line.data{stroke:var(--data)}.line.limit{stroke:var(--limit);stroke-dasharray:5 4}
.line.mark{stroke:var(--limit);stroke-width:2}
.line.own{stroke:var(--data);stroke-width:2;stroke-dasharray:4 3}
.line.second{stroke:var(--second);stroke-dasharray:1.5 3;stroke-linecap:round}
circle.limit{fill:var(--limit)}circle.data{fill:var(--data)}circle.second{fill:var(--second)}
.area.data{fill:var(--data)}.area.spread{fill:var(--data-area)}.area.bad{fill:var(--bad)}
table{border-collapse:collapse;width:100%;margin:0 0 1rem;font-size:.9375rem}
caption{text-align:left;font-weight:600;padding:.25rem 0 .35rem}
th{color:var(--soft);font-weight:400;font-size:.875rem;text-align:left;vertical-align:bottom}
th,td{padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--rule);vertical-align:top;
font-variant-numeric:tabular-nums}
td p{margin:0}th{white-space:nowrap}
ul{margin:0 0 .75rem;padding-left:1.2rem}
.pictures{display:flex;flex-wrap:wrap;gap:.4rem}
.pictures img{width:3.5rem;height:3.5rem;image-rendering:pixelated;border:1px solid var(--rule)}
.pictures span{display:block;width:3.5rem}.pictures img{display:block}
.pictures small{color:var(--soft);white-space:nowrap}
.panel{margin:0 0 1rem}
.glossary dt{color:var(--ink);font-weight:600}
footer{padding:2rem 1rem 3rem;color:var(--soft);font-size:.875rem}
@media (max-width:40rem){
header{padding-top:1.5rem}h1{font-size:1.4rem}
.facts>div{grid-template-columns:1fr}.card .facts>div{grid-template-columns:9rem 1fr}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,caption{display:block}
tr{display:block;border-bottom:1px solid var(--rule);padding:.5rem 0}
td{display:grid;grid-template-columns:7.5rem 1fr;gap:.75rem;border:0;padding:.15rem 0}
td::before{content:attr(data-label);color:var(--soft);font-size:.875rem}
td>span{min-width:0}}
@media print{
:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--rule:#bbb;--wash:#fff;--data:#1b4a92;--data-area:#1b4a9233;
--second:#6b5210;--limit:#a11;--good:#155a37;--fair:#6f4800;--bad:#a11}
body{font-size:10.5pt}nav{display:none}
header{padding-top:0}
.card{border:1px solid var(--rule)}
figure,.card,tr,.claim,.panel{break-inside:avoid}
h2,h3,figcaption,caption{break-after:avoid}
.area,.swatch,.pictures img{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
