// The what-if panel. It knows no law: it repeats the steps that the page carries, on the draws that
// the page carries, and takes quantiles. The arithmetic is that of `Replay.read`.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("panel-data").textContent);
  const panel = document.getElementById("panel");
  if (!panel) return;
  const STEPS = 240, CHART = 41, UNSEEN = 3;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const doubles = (text) => new Float64Array(bytes(text).buffer);
  for (const m of data.metrics) {
    for (const part of m.parts) {
      for (const key of ["table", "noise", "stages", "constants"]) part[key] = doubles(part[key]);
      part.count = part.noise.length + 1;
      part.known = [];
      part.room = [];
    }
    m.support = bytes(m.support);
    m.mean = new Float64Array(m.draws);
    m.run = new Float64Array(m.draws);
  }
  const served = data.served;
  if (served) for (const key in served.values) served.values[key] = doubles(served.values[key]);

  // --- arithmetic --------------------------------------------------------------------------------
  // Comparisons are 1 or 0, as NumPy counts them.
  const OPERATIONS = {
    add: (a, b) => a + b, subtract: (a, b) => a - b, multiply: (a, b) => a * b,
    divide: (a, b) => a / b, power: (a, b) => a ** b, negative: (a) => -a, positive: (a) => a,
    absolute: Math.abs, sign: Math.sign, square: (a) => a * a, sqrt: Math.sqrt, cbrt: Math.cbrt,
    reciprocal: (a) => 1 / a, exp: Math.exp, exp2: (a) => 2 ** a, expm1: Math.expm1, log: Math.log,
    log2: Math.log2, log10: Math.log10, log1p: Math.log1p,
    logaddexp: (a, b) => a === b ? a + Math.LN2
      : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))),
    maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b),
    hypot: (a, b) => Math.hypot(a, b), floor: Math.floor, ceil: Math.ceil, sin: Math.sin,
    cos: Math.cos, tan: Math.tan, arctan: Math.atan, sinh: Math.sinh, cosh: Math.cosh,
    tanh: Math.tanh, arcsinh: Math.asinh,
    greater: (a, b) => +(a > b), greater_equal: (a, b) => +(a >= b), less: (a, b) => +(a < b),
    less_equal: (a, b) => +(a <= b), equal: (a, b) => +(a === b), not_equal: (a, b) => +(a !== b),
    logical_and: (a, b) => +(a !== 0 && b !== 0), logical_or: (a, b) => +(a !== 0 || b !== 0),
    logical_not: (a) => +(a === 0), isfinite: (a) => +Number.isFinite(a),
    isnan: (a) => +Number.isNaN(a), where: (a, b, c) => a !== 0 ? b : c,
  };

  // One step on numbers and on lists of a number a draw; a list is put into `room`.
  function step(name, a, b, c, room) {
    const f = OPERATIONS[name];
    const many = [a, b, c].map((x) => typeof x === "object");
    if (!many.includes(true)) return f(a, b, c);
    const out = room();
    for (let d = 0; d < out.length; d++) {
      out[d] = f(many[0] ? a[d] : a, many[1] ? b[d] : b, many[2] ? c[d] : c);
    }
    return out;
  }

  // Registers of a part at a combination of levels, as far as they depend on no axis.
  function registers(part, combination) {
    if (part.known[combination]) return part.known[combination];
    const found = part.inputs.map(() => 0);
    for (const row of part.rows[combination]) {
      found.push(part.table.subarray(row * part.count, (row + 1) * part.count));
    }
    found.push(...part.constants);
    for (const [name, a, b, c] of part.steps.slice(0, part.fixed)) {
      found.push(step(name, found[a], found[b], found[c], () => new Float64Array(part.count)));
    }
    part.known[combination] = found;
    return found;
  }

  // Estimate and draws of a part; they last until it is asked again.
  function valuesAt(part, combination, axes) {
    const found = registers(part, combination).slice();
    part.inputs.forEach((axis, i) => { found[i] = axes[axis]; });
    for (let k = part.fixed; k < part.steps.length; k++) {
      const [name, a, b, c] = part.steps[k];
      found.push(step(name, found[a], found[b], found[c],
        () => part.room[k] ??= new Float64Array(part.count)));
    }
    const value = found[part.result];
    return typeof value === "object" ? value : new Float64Array(part.count).fill(value);
  }

  // The factor on a new run's error, linear in its square between the sizes that are told.
  function growth(part, axes) {
    if (part.kept === null) return 1;
    const size = part.stages.length / 2, kept = axes[part.kept], at = part.stages;
    let above = 0;
    while (above < size && at[above] < kept) above++;
    if (above === 0 || above === size) return Math.sqrt(at[size + Math.min(above, size - 1)]);
    const share = (kept - at[above - 1]) / (at[above] - at[above - 1]);
    return Math.sqrt(at[size + above - 1] + share * (at[size + above] - at[size + above - 1]));
  }

  function overshoot(axis, value) {
    const low = Math.log(axis.seen[0]), high = Math.log(axis.seen[1]);
    const width = high > low ? high - low : 1;
    const beyond = Math.max(low - Math.log(value), Math.log(value) - high) - 1e-9 * width;
    return Math.max(beyond, 0) / width;
  }

  const shown = (m, value) => m.log ? Math.exp(value) : value;

  // An end among infinite draws is infinite.
  function quantile(m, sorted, share) {
    const at = share * (sorted.length - 1), first = Math.floor(at);
    const below = shown(m, sorted[first]);
    const above = shown(m, sorted[Math.min(first + 1, sorted.length - 1)]);
    const end = below + (at - first) * (above - below);
    return Number.isFinite(end) ? end : share < 0.5 ? below : above;
  }

  function ends(m, drawn, estimate, forms, distance) {
    drawn.sort();
    const tail = (1 - m.level) / 2;
    let low = quantile(m, drawn, tail), high = quantile(m, drawn, 1 - tail);
    if (distance > 0) {
      let least = estimate - m.growth * distance, most = estimate + m.growth * distance;
      if (m.bounds) { least = Math.max(least, m.bounds[0]); most = Math.min(most, m.bounds[1]); }
      low = Math.min(low, shown(m, Math.min(least, ...forms)));
      high = Math.max(high, shown(m, Math.max(most, ...forms)));
    }
    return [low, high];
  }

  // What the log supports: 0 inside, 1 corner, 2 outside; a corner where the nearest node is one;
  // 3 where no run has the combination of levels.
  function supportAt(m, combination, axes, distance) {
    let node = combination;
    m.axes.forEach((axis, i) => {
      const share = Math.log(axes[i] / axis.low) / Math.log(axis.high / axis.low);
      node = node * axis.nodes + Math.round(share * (axis.nodes - 1));
    });
    if (m.support[node] === UNSEEN) return UNSEEN;
    return distance > 0 ? 2 : Math.min(m.support[node], 1);
  }

  // Estimate, ends of the curve's interval and of a new run's.
  function answer(m, state) {
    let combination = 0;
    for (const f of m.factors) {
      combination = combination * data.factors[f].levels.length + state.factors[f];
    }
    const axes = m.axes.map((axis) => state.axes[axis.at]);
    const distance = Math.max(...m.axes.map((axis, i) => overshoot(axis, axes[i])));
    const out = { estimate: 0, support: supportAt(m, combination, axes, distance) };
    if (out.support === UNSEEN) {
      for (const key of ["estimate", "low", "high", "run_low", "run_high"]) out[key] = NaN;
      return out;
    }
    const forms = [], { mean, run } = m;
    let at = 0;
    for (const part of m.parts) {
      const values = valuesAt(part, combination, axes), size = growth(part, axes);
      out.estimate += part.weight * values[0];
      if (part.admissible) forms.push(values[0]);
      for (let d = 1; d < part.count; d++, at++) {
        mean[at] = values[d];
        run[at] = values[d] + size * part.noise[d - 1];
        if (m.bounds) run[at] = Math.min(Math.max(run[at], m.bounds[0]), m.bounds[1]);
      }
    }
    if (m.draws) {
      [out.low, out.high] = ends(m, mean, out.estimate, forms, distance);
      [out.run_low, out.run_high] = ends(m, run, out.estimate, forms, distance);
    }
    out.estimate = shown(m, out.estimate);
    return out;
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
    const far = [], none = [];
    data.metrics.forEach((m, i) => {
      const found = answer(m, state);
      for (const key of ["estimate", "low", "high", "run_low", "run_high"]) {
        put(cards[i], key, m.draws || key === "estimate" ? found[key] : NaN);
      }
      cards[i].dataset.support = ["inside", "corner", "outside", "unseen"][found.support];
      if (found.support === UNSEEN) none.push(m.name);
      if (found.support === 2) far.push(`${m.name}: beyond the data`);
      if (found.support === 1) far.push(`${m.name}: a combination unlike those of the log`);
    });
    const told = [];
    if (none.length) told.push(`No run of ${none.join(", ")} has these levels together.`);
    if (far.length) told.push(`Less certain here. ${far.join("; ")}.`);
    get("where").textContent = told.join(" ") || "Inside the data.";
    get("where").className = told.length ? "where warn" : "where";
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
    const here = answer(m, state), place = state.axes[axis.at];
    svg.replaceChildren();
    if (here.support === UNSEEN) return;
    for (let i = 0; i < CHART; i++) {
      values.push(axis.low * Math.exp(i / (CHART - 1) * Math.log(axis.high / axis.low)));
      const moved = { factors: state.factors, axes: state.axes.slice() };
      moved.axes[axis.at] = clamp(axis, values[i]);
      answers.push(answer(m, moved));
    }
    // An end may be infinite: it leaves the chart.
    const ends = (key) => answers.map((a) => a[m.draws ? key : "estimate"]).filter(Number.isFinite);
    const top = Math.max(...ends("run_high")), low = Math.min(...ends("run_low"));
    const x = (v) => 38 + 254 * Math.log(v / axis.low) / Math.log(axis.high / axis.low);
    const y = (v) => 88 - 80 * (Math.min(Math.max(v, low), top) - low) / (top - low || 1);
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
    add("line", { class: "here", x1: x(place), x2: x(place), y1: 8, y2: 88 });
    add("circle", { class: "dot", cx: x(place), cy: y(here.estimate), r: 4 });
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
