//! How reports look.

/// The page's style sheet; the charts use its colours, too.
pub const CSS: &str = "
:root {
  --ground: #fbfbfa; --card: #ffffff; --ink: #1c2024; --soft: #62686f; --rule: #e4e5e7; --grid: #edeef0;
  --good: #18794e; --bad: #cd2b31; --warn: #fff4d5; --warn-ink: #6b4500;
  --c0: #2f6fde; --c1: #e5732a; --c2: #2a9d6f; --c3: #9b51c9; --c4: #b08b12; --c5: #cf3b5b;
}
@media (prefers-color-scheme: dark) { :root {
  --ground: #121416; --card: #1a1d20; --ink: #e8eaed; --soft: #9aa1a9; --rule: #2c3035; --grid: #25292d;
  --good: #4cc38a; --bad: #ff8589; --warn: #3a2f10; --warn-ink: #f1d28a;
  --c0: #6ea0ff; --c1: #ff9a57; --c2: #4fd1a0; --c3: #c78bf0; --c4: #dcb840; --c5: #ff7391;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 25px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0 0 10px; }
.sub { color: var(--soft); margin: 6px 0 0; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
.warning { background: var(--warn); color: var(--warn-ink); border-radius: 10px; padding: 10px 14px; margin: 18px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 14px; background: none; border: 0;
  padding: 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px; }
.tile span, .tile em { display: block; color: var(--soft); font-size: 13px; font-style: normal; min-height: 1.4em; }
.tile strong { display: block; font-size: 22px; font-weight: 600; line-height: 1.3; white-space: nowrap; }
.tile.bad strong, tr.bad td, tr.bad th { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 5px 10px; border-top: 1px solid var(--rule); font-weight: 400; white-space: nowrap; }
thead th { border-top: 0; color: var(--soft); font-size: 13px; }
tbody th { color: var(--soft); }
th:first-child { text-align: left; padding-left: 0; }
small { display: block; color: var(--soft); font-size: 12px; }
.better { color: var(--good); font-weight: 600; }
.worse { color: var(--bad); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; font-size: 14px; }
dl + dl { border-top: 1px solid var(--rule); margin-top: 12px; padding-top: 12px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; margin-bottom: 6px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
.k0 { background: var(--c0); } .k1 { background: var(--c1); } .k2 { background: var(--c2); }
.k3 { background: var(--c3); } .k4 { background: var(--c4); } .k5 { background: var(--c5); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--rule); stroke-width: 1; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .l0 { stroke: var(--c0); } svg .l1 { stroke: var(--c1); } svg .l2 { stroke: var(--c2); }
svg .l3 { stroke: var(--c3); } svg .l4 { stroke: var(--c4); } svg .l5 { stroke: var(--c5); }
@media print { body { background: white; } section, .tile { break-inside: avoid; } }
";
