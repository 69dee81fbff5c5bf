// The what-if panel. It knows no law: it reads the draws that the page carries, between the nodes
// of a lattice, and takes their quantiles. The arithmetic is that of `Lattice.read`.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("panel-data").textContent);
  const panel = document.getElementById("panel");
  const STEPS = 240, CHART = 41;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  for (const m of data.metrics) {
    for (const key of ["table", "coefficients", "noise"]) m[key] = floats(m[key]);
    m.support = bytes(m.support);
  }
  const served = data.served;
  if (served) for (const key in served.values) served.values[key] = floats(served.values[key]);

  // Four nodes around a value and their weights (Lagrange's cubic).
  function stencil(axis, value) {
    const at = Math.log(value / axis.low) / Math.log(axis.high / axis.low) * (axis.nodes - 1);
    const first = Math.min(Math.max(Math.floor(at) - 1, 0), axis.nodes - 4);
    const t = at - first;
    return { first, nearest: Math.round(at), weights: [
      -(t - 1) * (t - 2) * (t - 3) / 6, t * (t - 2) * (t - 3) / 2,
      -t * (t - 1) * (t - 3) / 2, t * (t - 1) * (t - 2) / 6] };
  }

  function overshoot(axis, value) {
    const low = Math.log(axis.seen[0]), high = Math.log(axis.seen[1]);
    const width = high > low ? high - low : 1;
    const beyond = Math.max(low - Math.log(value), Math.log(value) - high) - 1e-9 * width;
    return Math.max(beyond, 0) / width;
  }

  function quantile(sorted, share) {
    const at = share * (sorted.length - 1), below = Math.floor(at);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }

  // The columns of a metric's table at a state, and the nearest node's support.
  function columnsAt(m, state) {
    let combination = 0;
    for (const f of m.factors) {
      combination = combination * data.factors[f].levels.length + state.factors[f];
    }
    let cells = [[0, 1]], nearest = 0, size = 1;
    for (const axis of m.axes) {
      const s = stencil(axis, state.axes[axis.at]);
      cells = cells.flatMap(([node, weight]) => s.weights.map(
        (w, i) => [node * axis.nodes + s.first + i, weight * w]));
      nearest = nearest * axis.nodes + s.nearest;
      size *= axis.nodes;
    }
    const row = new Float64Array(m.columns);
    for (const [node, weight] of cells) {
      const start = (combination * size + node) * m.columns;
      for (let c = 0; c < m.columns; c++) row[c] += weight * m.table[start + c];
    }
    return { row, support: m.support[combination * size + nearest] };
  }

  // Estimate, ends of the curve's interval and of a new run's.
  function answer(m, state) {
    const { row, support } = columnsAt(m, state);
    const distance = Math.max(...m.axes.map((a) => overshoot(a, state.axes[a.at])));
    const out = { estimate: row[0], support: distance > 0 ? 2 : Math.min(support, 1) };
    if (m.draws) {
      const mean = new Float64Array(m.draws).fill(row[1 + m.forms]);
      for (let k = 0; k < m.rank; k++) {
        const b = row[2 + m.forms + k];
        for (let d = 0; d < m.draws; d++) mean[d] += b * m.coefficients[k * m.draws + d];
      }
      const size = row[m.columns - 1];
      const run = mean.map((v, d) => {
        const one = v + size * m.noise[d];
        return m.bounds ? Math.min(Math.max(one, m.bounds[0]), m.bounds[1]) : one;
      });
      [out.low, out.high] = ends(m, mean, row, distance);
      [out.run_low, out.run_high] = ends(m, run, row, distance);
    }
    if (m.log) for (const key in out) if (key !== "support") out[key] = Math.exp(out[key]);
    return out;
  }

  function ends(m, drawn, row, distance) {
    drawn.sort();
    const tail = (1 - m.level) / 2;
    let low = quantile(drawn, tail), high = quantile(drawn, 1 - tail);
    if (distance > 0 && m.forms) {
      let least = row[0] - m.growth * distance, most = row[0] + m.growth * distance;
      if (m.bounds) { least = Math.max(least, m.bounds[0]); most = Math.min(most, m.bounds[1]); }
      const forms = row.subarray(1, 1 + m.forms);
      low = Math.min(low, least, ...forms);
      high = Math.max(high, most, ...forms);
    }
    return [low, high];
  }

  // --- controls ----------------------------------------------------------------------------------
  const get = (id) => document.getElementById(id);
  const plain = (v) => Number(v.toPrecision(3));
  const clamp = (axis, v) => Math.min(Math.max(v, axis.low), axis.high);
  const state = { axes: [], factors: [] };

  function show(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1)
      : size >= 1 ? value.toFixed(2) : value.toFixed(3);
  }

  function moveSlider(i) {
    const axis = data.axes[i], slider = get(`axis${i}`);
    const share = Math.log(state.axes[i] / axis.low) / Math.log(axis.high / axis.low);
    slider.value = Math.round(share * STEPS);
    slider.setAttribute("aria-valuetext", show(state.axes[i]));
  }

  data.axes.forEach((axis, i) => {
    const slider = get(`axis${i}`), box = get(`value${i}`);
    state.axes[i] = clamp(axis, Number(box.value));
    moveSlider(i);
    slider.addEventListener("input", () => {
      const value = axis.low * Math.exp(slider.value / STEPS * Math.log(axis.high / axis.low));
      state.axes[i] = clamp(axis, plain(value));
      box.value = state.axes[i];
      slider.setAttribute("aria-valuetext", show(state.axes[i]));
      redraw();
    });
    box.addEventListener("change", () => {
      const value = Number(box.value);
      if (value > 0) state.axes[i] = clamp(axis, value);
      box.value = state.axes[i];
      moveSlider(i);
      redraw();
    });
  });
  data.factors.forEach((_, i) => {
    const select = get(`factor${i}`);
    state.factors[i] = Number(select.value);
    select.addEventListener("change", () => { state.factors[i] = Number(select.value); redraw(); });
  });
  panel.addEventListener("submit", (event) => event.preventDefault());

  // --- what is shown -----------------------------------------------------------------------------
  function put(card, name, value) {
    for (const place of card.getElementsByClassName(name)) {
      place.value = String(value);
      place.textContent = show(value);
    }
  }

  const cards = [...panel.getElementsByClassName("metric")];
  function showMetrics() {
    const far = [];
    data.metrics.forEach((m, i) => {
      const found = answer(m, state);
      for (const key of ["estimate", "low", "high", "run_low", "run_high"]) {
        put(cards[i], key, m.draws || key === "estimate" ? found[key] : NaN);
      }
      cards[i].dataset.support = ["inside", "corner", "outside"][found.support];
      if (found.support === 2) far.push(`${m.name}: beyond the data`);
      if (found.support === 1) far.push(`${m.name}: a combination unlike those of the log`);
    });
    get("where").textContent = far.length ? `Less certain here. ${far.join("; ")}.`
      : "Inside the data.";
    get("where").className = far.length ? "where warn" : "where";
  }

  function showCosts() {
    const level = served.factor === null ? 0 : state.factors[served.factor];
    const share = Math.log(state.axes[served.at] / served.low) / Math.log(served.high / served.low);
    const node = Math.min(Math.max(Math.round(share * (served.nodes - 1)), 0), served.nodes - 1);
    for (const key in served.values) {
      put(get("costs"), key, served.values[key][level * served.nodes + node]);
    }
  }

  // A small curve along one axis: both bands, the estimate, and where the state is.
  function drawChart(svg, m) {
    const axis = m.axes[svg.dataset.axis], values = [], answers = [];
    for (let i = 0; i < CHART; i++) {
      values.push(axis.low * Math.exp(i / (CHART - 1) * Math.log(axis.high / axis.low)));
      const moved = { factors: state.factors, axes: state.axes.slice() };
      moved.axes[axis.at] = clamp(axis, values[i]);
      answers.push(answer(m, moved));
    }
    const top = Math.max(...answers.map((a) => m.draws ? a.run_high : a.estimate));
    const low = Math.min(...answers.map((a) => m.draws ? a.run_low : a.estimate));
    const x = (v) => 38 + 254 * Math.log(v / axis.low) / Math.log(axis.high / axis.low);
    const y = (v) => 88 - 80 * (v - low) / (top - low || 1);
    const line = (key, list = answers.keys()) => [...list].map(
      (i) => `${x(values[i]).toFixed(1)},${y(answers[i][key]).toFixed(1)}`).join(" ");
    const back = answers.map((_, i) => answers.length - 1 - i);
    const marks = [];
    const add = (name, attributes, text) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const key in attributes) node.setAttribute(key, attributes[key]);
      if (text !== undefined) node.textContent = text;
      marks.push(node);
    };
    const [from, to] = axis.seen.map((v) => x(clamp(axis, v)));
    add("rect", { class: "seen", x: from, width: to - from, y: 8, height: 80 });
    if (m.draws) {
      add("polygon", { class: "run", points: `${line("run_low")} ${line("run_high", back)}` });
      add("polygon", { class: "mean", points: `${line("low")} ${line("high", back)}` });
    }
    add("polyline", { class: "line", points: line("estimate") });
    const here = answer(m, state), place = x(state.axes[axis.at]);
    add("line", { class: "here", x1: place, x2: place, y1: 8, y2: 88 });
    add("circle", { class: "dot", cx: place, cy: y(here.estimate), r: 4 });
    add("text", { x: 34, y: 14, "text-anchor": "end" }, show(top));
    add("text", { x: 34, y: 90, "text-anchor": "end" }, show(low));
    add("text", { x: 38, y: 104 }, show(axis.low));
    add("text", { x: 292, y: 104, "text-anchor": "end" }, show(axis.high));
    svg.replaceChildren(...marks);
  }

  let waiting = false;
  function redraw() {
    showMetrics();
    if (served) showCosts();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      data.metrics.forEach((m, i) => {
        for (const svg of cards[i].querySelectorAll(".chart svg")) drawChart(svg, m);
      });
    });
  }

  panel.hidden = false;
  redraw();
})();
