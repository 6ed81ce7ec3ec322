"use strict";
/* The page's behaviour: draws the charts with plotly.js, and marks a chosen layer in all of them.
   Names are set as text, never as HTML. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const number = (count) => count.toLocaleString("en-US");
  const drawn = {};
  let layer = null;
  let step = data.peak;

  /* colours and room */

  const style = () => {
    const found = getComputedStyle(document.documentElement);
    const value = (name) => found.getPropertyValue(name).trim();
    return { ink: value("--ink"), soft: value("--soft"), grid: value("--grid"), paper: value("--paper"), mark: value("--mark") };
  };
  const narrow = () => window.innerWidth < 700;

  const themed = (name) => {
    const { ink, soft, grid, paper } = style();
    const layout = { "font.color": ink, "hoverlabel.bgcolor": paper, "hoverlabel.bordercolor": soft, "hoverlabel.font.color": ink, "hoverlabel.align": "left" };
    if (data.charts[name].layout.xaxis) {
      for (const axis of ["xaxis", "yaxis"]) {
        layout[`${axis}.gridcolor`] = grid;
        layout[`${axis}.linecolor`] = grid;
        layout[`${axis}.tickcolor`] = grid;
      }
    }
    if (name in data.narrow) {
      layout["yaxis.ticktext"] = narrow() ? data.narrow[name] : data.charts[name].layout.yaxis.ticktext;
    }
    if (name === "time") {
      // room for the numbers behind the bars
      const most = Math.max(...data.charts.time.data[0].x, 1);
      layout["xaxis.range"] = [0, most * (narrow() ? 1.3 : 1.1)];
    }
    return layout;
  };
  const paint = (name) => {
    Plotly.relayout(drawn[name], themed(name));
    const { paper } = style();
    if (name === "arena") {
      Plotly.restyle(drawn[name], { "marker.line.color": paper });
    }
    if (name === "flash") {
      Plotly.restyle(drawn[name], { "marker.line.color": paper, "pathbar.textfont.color": style().ink });
    }
  };

  const draw = (name) => {
    const place = at(`chart-${name}`);
    const chart = data.charts[name];
    if (!place || !chart) {
      return;
    }
    const layout = structuredClone(chart.layout);
    for (const [key, value] of Object.entries(themed(name))) {
      const path = key.split(".");
      const last = path.pop();
      path.reduce((inner, part) => (inner[part] ??= {}), layout)[last] = value;
    }
    drawn[name] = place;
    // the place has the height, so that a chart that fits itself to its place keeps it
    place.style.height = `${layout.height}px`;
    delete layout.height;
    Plotly.newPlot(place, structuredClone(chart.data), layout, { displayModeBar: false, responsive: true });
    paint(name);
  };

  /* the chosen layer */

  const cell = (kind, text, name) => {
    const found = document.createElement(kind);
    found.textContent = text;
    if (name) {
      found.className = name;
    }
    return found;
  };

  const details = () => {
    at("no-layer").hidden = layer !== null;
    at("layer").hidden = layer === null;
    if (layer === null) {
      return;
    }
    const found = data.layers[layer];
    at("layer-name").textContent = `${layer} ${found.name}`;
    at("layer-rows").replaceChildren(...found.rows.flatMap(([name, text]) => [cell("dt", name), cell("dd", text)]));
    at("before").disabled = layer === 0;
    at("behind").disabled = layer === data.layers.length - 1;
  };

  const inside = (box, element) => {
    if (!box || !element) {
      return;
    }
    const outer = box.getBoundingClientRect();
    const inner = element.getBoundingClientRect();
    if (inner.top < outer.top || inner.bottom > outer.bottom) {
      box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
    }
  };

  const markGraph = () => {
    const here = new Set(data.moments[step].layers);
    for (const box of document.querySelectorAll("#graph .layer.box")) {
      const own = Number(box.dataset.layer);
      box.classList.toggle("chosen", own === layer);
      box.classList.toggle("here", here.has(own));
    }
    for (const wire of document.querySelectorAll("#graph .wire")) {
      const own = Number(wire.dataset.source) === layer || Number(wire.dataset.target) === layer;
      wire.classList.toggle("chosen", layer !== null && own);
    }
    for (const row of document.querySelectorAll("#quantization tr[data-layer]")) {
      row.classList.toggle("chosen", Number(row.dataset.layer) === layer);
    }
    const target = layer === null ? data.moments[step].layers[0] : layer;
    if (target !== undefined) {
      inside(at("graph"), document.querySelector(`#graph [data-layer="${target}"]`));
    }
  };

  const markBars = (name) => {
    if (!drawn[name]) {
      return;
    }
    const bars = data.charts[name].data[0].customdata;
    const place = layer === null ? -1 : bars.indexOf(layer);
    Plotly.restyle(drawn[name], { selectedpoints: [place < 0 ? null : [place]] }, [0]);
    const box = at(`scroll-${name}`);
    if (place >= 0 && box) {
      const axis = drawn[name]._fullLayout.yaxis;
      const y = axis.d2p(place) + axis._offset;
      if (y < box.scrollTop + 40 || y > box.scrollTop + box.clientHeight - 40) {
        box.scrollTop = y - box.clientHeight / 2;
      }
    }
  };

  const markArena = () => {
    if (!drawn.arena) {
      return;
    }
    const own = layer === null ? null : new Set(data.layers[layer].blocks);
    const chosen = data.charts.arena.data.map((trace) =>
      own === null ? null : trace.customdata.flatMap((block, place) => (own.has(block) ? [place] : [])));
    Plotly.restyle(drawn.arena, { selectedpoints: chosen });
    Plotly.relayout(drawn.arena, { "shapes[0].x0": step - 0.5, "shapes[0].x1": step + 0.5 });
  };

  /* the chosen step */

  const showStep = () => {
    const moment = data.moments[step];
    const last = data.moments.length - 1;
    at("step").value = step;
    at("step").setAttribute("aria-valuetext", `step ${step}, ${moment.name}`);
    at("step-back").disabled = step === 0;
    at("step-on").disabled = step === last;
    const which = moment.layers.length === 0 ? "" : moment.layers.length === 1 ? `, layer ${moment.layers[0]}` : `, layers ${moment.layers[0]} to ${moment.layers.at(-1)}`;
    at("step-name").textContent = `Step ${step} of ${last}: ${moment.name}${which}, ${moment.detail}. ` +
      `${number(moment.used)} of ${number(data.arena)} bytes of the arena are in use${step === data.peak ? "; here it reaches its end" : ""}.`;
    const rows = moment.blocks.map((place) => data.blocks[place]).sort((one, other) => other.offset - one.offset);
    const line = (block) => {
      const row = document.createElement("tr");
      if (block.layer !== null && block.layer !== undefined) {
        row.dataset.layer = block.layer;
      }
      const what = cell("td", ` ${data.names[block.kind]}`);
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("class", "swatch");
      swatch.setAttribute("width", "11");
      swatch.setAttribute("height", "11");
      const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      square.setAttribute("width", "11");
      square.setAttribute("height", "11");
      square.setAttribute("rx", "2");
      square.setAttribute("fill", data.colours[block.kind]);
      swatch.append(square);
      what.prepend(swatch);
      const place = block.offset === undefined ? ["", "", "", ""] : [
        number(block.offset), number(block.offset + block.size), block.rows === null ? "all" : number(block.rows),
        block.first === block.last ? `${block.first}` : `${block.first} to ${block.last}`];
      const name = cell("td", block.short ?? block.name, "name");
      name.title = block.name;
      row.append(name, cell("td", block.size === null ? "not known" : number(block.size), "n"), what,
        cell("td", place[0], "n"), cell("td", place[1], "n"), cell("td", place[2], "n"), cell("td", place[3]));
      return row;
    };
    const outside = [
      { name: "outside of the arena", kind: "context", size: data.outside.context },
      { name: "outside of the arena", kind: "stack", size: data.outside.stack },
    ];
    document.querySelector("#live tbody").replaceChildren(...[...rows, ...outside].map(line));
    if (drawn.bytes) {
      const x = data.charts.bytes.data.map((trace) => {
        const part = trace.customdata[0];
        const now = part in data.outside ? data.outside[part] ?? 0 : moment.parts[part];
        return [now, trace.x[1]];
      });
      Plotly.restyle(drawn.bytes, { x });
    }
  };

  const mark = () => {
    details();
    markGraph();
    markBars("time");
    markBars("errors");
    markArena();
    showStep();
  };
  const chooseStep = (wanted) => {
    step = Math.min(Math.max(wanted, 0), data.moments.length - 1);
    const layers = data.moments[step].layers;
    if (layer !== null && !layers.includes(layer)) {
      layer = layers.length === 1 ? layers[0] : null;
    }
    mark();
  };
  const chooseLayer = (wanted) => {
    layer = wanted === layer || !(wanted in data.layers) ? null : wanted;
    if (layer !== null) {
      step = data.layers[layer].moment;
    }
    mark();
  };

  /* the plans */

  let saved = null;
  const choosePlan = (place) => {
    const plan = data.front[place];
    const fastest = Math.max(Math.min(...data.front.map((each) => each.instructions)), 1);
    at("plan-text").textContent = `${plan.mark ? `${plan.mark}: ` : ""}${number(plan.arena)} bytes of arena, ` +
      `${number(plan.instructions)} instructions estimated (+${((plan.instructions / fastest - 1) * 100).toFixed(2)} %)` +
      `${plan.current ? "; the plan of this page" : ""}.`;
    at("plan-command").textContent = plan.command;
    at("plan-command").hidden = false;
    at("plan-file").hidden = plan.file === null;
    if (saved !== null) {
      URL.revokeObjectURL(saved);
      saved = null;
    }
    if (plan.file !== null) {
      saved = URL.createObjectURL(new Blob([JSON.stringify({ schedule: plan.schedule })], { type: "application/json" }));
      at("plan-save").textContent = plan.file;
      at("plan-save").href = saved;
      at("plan-save").download = plan.file;
    }
  };

  /* what the user does */

  const clicks = {
    arena: (point) => {
      const block = data.blocks[point.customdata];
      if (block.layer === null) {
        chooseStep(Math.max(block.first, 0));
      } else {
        chooseLayer(block.layer);
      }
    },
    time: (point) => chooseLayer(point.customdata),
    errors: (point) => point.customdata >= 0 && chooseLayer(point.customdata),
    front: (point) => point.customdata !== undefined && choosePlan(point.customdata),
    flash: (point) => {
      // a layer is chosen; anything else opens, as plotly has it unless it is told false
      if (point.customdata < 0) {
        return true;
      }
      chooseLayer(point.customdata);
      return false;
    },
  };
  for (const name of Object.keys(data.charts)) {
    draw(name);
    if (drawn[name] && clicks[name]) {
      drawn[name].on(name === "flash" ? "plotly_treemapclick" : "plotly_click", (event) => clicks[name](event.points[0]));
    }
  }
  const chosenBy = (event) => {
    const found = event.target.closest("[data-layer]");
    if (found) {
      chooseLayer(Number(found.dataset.layer));
    }
    return Boolean(found);
  };
  for (const id of ["graph", "live", "findings", "quantization"]) {
    at(id).addEventListener("click", chosenBy);
  }
  at("graph").addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && chosenBy(event)) {
      event.preventDefault();
    }
  });
  at("step").addEventListener("input", () => chooseStep(Number(at("step").value)));
  at("step-back").addEventListener("click", () => chooseStep(step - 1));
  at("step-on").addEventListener("click", () => chooseStep(step + 1));
  at("step-peak").addEventListener("click", () => chooseStep(data.peak));
  at("before").addEventListener("click", () => layer > 0 && chooseLayer(layer - 1));
  at("behind").addEventListener("click", () => layer < data.layers.length - 1 && chooseLayer(layer + 1));
  at("none").addEventListener("click", () => chooseLayer(layer));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.keys(drawn).forEach(paint));
  window.matchMedia("(max-width: 699px)").addEventListener("change", () => Object.keys(drawn).forEach(paint));

  mark();
  document.documentElement.dataset.ready = "yes";
})();
