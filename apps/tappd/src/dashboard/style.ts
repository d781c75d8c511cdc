/** The one style sheet: colours and shapes as on teepod's pages. The policy of a page names its hash. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfbfc; --card: #ffffff; --text: #1c1f23; --quiet: #565d66; --line: #d5d9df; --accent: #0a5bb0;
  --good: #146c2e; --bad: #b3201b; --warn-back: #fff3cd; --warn-text: #4d3a00; --note-back: #e4effb;
  --console-back: #14171b; --console-text: #dfe3e8; --console-bad: #ff9d94;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181c; --card: #1d2126; --text: #e6e9ed; --quiet: #a4adb8; --line: #3a4149; --accent: #7ab8f5;
    --good: #6fd08c; --bad: #ff8a80; --warn-back: #4a3b0a; --warn-text: #ffe9a8; --note-back: #16304a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1rem; }
header {
  display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: center; justify-content: space-between;
  padding-top: .75rem; padding-bottom: .5rem; border-bottom: 1px solid var(--line);
}
footer { margin-top: 2rem; padding-bottom: 1rem; color: var(--quiet); font-size: .9rem; }
main:focus { outline: none; }
h1 { font-size: 1.5rem; margin: 1.25rem 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
p { max-width: 60rem; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
/* What the app or the host wrote cannot turn the text around it. */
code, pre, bdi, dd, td { unicode-bidi: isolate; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .25rem .5rem; background: var(--card); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
nav a { padding: .25rem 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav a[aria-current="page"] { color: var(--text); font-weight: 600; border-bottom: 2px solid var(--accent); }
.app { font-weight: 600; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .9rem; }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
.banner { padding: .5rem .75rem; border-radius: 6px; background: var(--note-back); }
.banner.warn { background: var(--warn-back); color: var(--warn-text); }
.problem { padding: .5rem .75rem; border-left: 4px solid var(--bad); overflow-wrap: anywhere; }
.empty { padding: 2rem 1rem; text-align: center; border: 1px dashed var(--line); border-radius: 8px; max-width: none; }
.card { margin: .75rem 0; padding: .25rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.card h2 { margin: .5rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: .75rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line); }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem; border-bottom: 1px solid var(--line); }
thead th { font-size: .875rem; color: var(--quiet); }
td { min-width: 8rem; }
td.wide { min-width: 14rem; }
pre {
  margin: .5rem 0; padding: .75rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  white-space: pre-wrap;
}
pre.command { user-select: all; }
pre.document { max-height: 32rem; overflow: auto; }
/* A column in reverse keeps its end in sight while lines arrive. */
.console {
  display: flex; flex-direction: column-reverse; height: 65vh; overflow: auto; border: 1px solid var(--line); border-radius: 6px;
  background: var(--console-back); color: var(--console-text);
}
.console pre { flex: 1 0 auto; margin: 0; border: 0; background: none; }
.stderr { color: var(--console-bad); }
.bar { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; align-items: center; margin: .75rem 0; }
.bar strong { color: var(--text); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .75rem; }
figure { margin: 0; padding: .5rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
figcaption { font-weight: 600; }
svg { display: block; width: 100%; height: 7rem; margin: .25rem 0; border-bottom: 1px solid var(--line); }
svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .area { fill: var(--accent); opacity: .15; }
svg * { vector-effect: non-scaling-stroke; }
.axis { display: flex; justify-content: space-between; color: var(--quiet); font-size: .875rem; }
meter { width: 8rem; vertical-align: middle; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
}
`;
