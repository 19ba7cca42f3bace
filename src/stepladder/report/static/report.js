/* Draws the charts and filters the failing examples. All data is text here: it is set with
   textContent, dataset and attributes, never parsed as HTML. */
(function () {
  "use strict";
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const views = new Map();

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue("--" + name).trim();
  }

  /* "@accent" becomes the page's colour of that name; data is left as it is. On a narrow screen
     there are fewer ticks, and named lines have their name above them instead of beside. */
  function painted(value, colour, narrow) {
    if (typeof value === "string") return value[0] === "@" ? colour(value.slice(1)) : value;
    if (Array.isArray(value)) return value.map((each) => painted(each, colour, narrow));
    if (value === null || typeof value !== "object") return value;
    const copy = {};
    for (const [key, each] of Object.entries(value)) {
      copy[key] = key === "data" ? each : painted(each, colour, narrow);
    }
    if (narrow && copy.tickCount) copy.tickCount = 3;
    if (narrow && copy.labelLimit) {
      Object.assign(copy, { labelLimit: 320, labelAlign: "left", labelPadding: -2, labelOffset: -13, grid: false, zindex: 1 });
    }
    return copy;
  }

  function theme(colour, narrow) {
    const text = { labelColor: colour("ink"), titleColor: colour("soft"), labelFontSize: 12, titleFontSize: 12,
      titleFontWeight: "normal" };
    return {
      background: null,
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: null },
      axis: { ...text, gridColor: colour("line"), domainColor: colour("line"), tickColor: colour("line") },
      legend: { ...text, labelLimit: narrow ? 130 : 330, columns: narrow ? 2 : 0, symbolStrokeWidth: 2 },
      range: { category: colour("series").split(",").map((each) => each.trim()) },
      text: { fontSize: 12 },
    };
  }

  function draw(host) {
    const wide = host.clientWidth;
    if (!wide) return;
    const colour = colours(), narrow = wide < 520;
    const spec = painted(charts[host.dataset.chart], colour, narrow);
    spec.width = wide;
    spec.autosize = { type: "fit", contains: "padding" };
    spec.config = theme(colour, narrow);
    if (narrow && host.dataset.lines) spec.height *= 1.6;
    /* With "fit" the height holds the axes and the legend too, so they get room of their own. */
    spec.height += narrow ? 100 : 76;
    try {
      const parsed = vega.parse(vegaLite.compile(spec).spec, {}, { ast: true });
      const view = new vega.View(parsed, { expr: vega.expressionInterpreter, renderer: "svg", logLevel: vega.Warn });
      if (views.has(host)) views.get(host).finalize();
      host.replaceChildren();
      view.initialize(host).hover().run();
      views.set(host, view);
      const svg = host.querySelector("svg");
      if (svg) { svg.setAttribute("aria-hidden", "true"); }
      host.dataset.drawn = "yes";
    } catch (error) {
      const said = document.createElement("p");
      said.className = "failed";
      said.textContent = "This chart could not be drawn (" + error.message + "); the table says the same.";
      host.replaceChildren(said);
      console.error(error);
    }
  }

  function drawAll() { document.querySelectorAll(".chart").forEach(draw); }

  let waiting = 0, width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  document.querySelectorAll("details").forEach((each) => each.addEventListener("toggle", () => {
    each.querySelectorAll(".chart:not([data-drawn])").forEach(draw);
  }));
  drawAll();

  /* --- failing examples: two solvers side by side ------------------------------------------- */
  const form = document.querySelector("form.filter");
  if (!form) return;
  const cases = [...document.querySelectorAll("article.case")];
  const more = document.querySelector("button.more");
  const told = document.getElementById("cases-shown");
  const STEP = 10;
  let room = STEP;

  function kindOf(card, solver) {
    const answer = card.querySelector('[data-solver="' + Number(solver) + '"]');
    return answer && answer.dataset.asked === "yes" ? answer.dataset.kind : null;
  }

  function fits(card) {
    const first = kindOf(card, form.first.value), second = kindOf(card, form.second.value);
    const which = form.which.value, kind = form.kind.value;
    if (which === "first" && !(first && second === "")) return false;
    if (which === "second" && !(second && first === "")) return false;
    if (which === "both" && !(first && second)) return false;
    if (which === "any" && !first && !second) return false;
    if (kind && first !== kind && second !== kind) return false;
    const sought = form.sought.value.trim().toLowerCase();
    return !sought || card.textContent.toLowerCase().includes(sought);
  }

  function show() {
    let found = 0;
    for (const card of cases) {
      const fit = fits(card);
      found += fit ? 1 : 0;
      card.hidden = !fit || found > room;
      card.querySelectorAll("[data-solver]").forEach((each) => {
        each.hidden = each.dataset.solver !== form.first.value && each.dataset.solver !== form.second.value;
        each.style.order = each.dataset.solver === form.first.value ? "0" : "1";
      });
    }
    const seen = Math.min(found, room);
    told.textContent = found ? seen + " of " + found + " that fit are shown." : "No example fits these choices.";
    more.hidden = found <= room;
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { room = STEP; show(); });
  more.addEventListener("click", () => { room += STEP; show(); });
  show();
})();
