"use strict";

// One component, three hosts: a file that needs no network, a cell of a notebook, a server. A host gives
//   data        what `display.gallery` writes: pictures in columns, tags, evidence, codes, map
//   style       the text of gallery.css
//   picture(i)  the URL of a small picture;  large(i)  of a larger one, where there is one
//   find(query) a promise of {rows, note}, where the host searches better than the page can (optional)
//   remove(rows)  takes chosen pictures away (optional)
//   decide(corrections)  told at once of each decision; without it the page offers a file to save
// Everything that comes from a dataset is text for this page, never markup.

function imgprepGallery(place, host) {
  const data = host.data, count = data.id.length, tags = data.tags;
  const root = place.attachShadow({ mode: "open" });
  const SMALL = ["a", "an", "the", "of", "on", "in", "with", "and", "at", "to", "for"];
  const HUES = ["#0b8f84", "#d9730d", "#7a5af5", "#c2185b", "#5b8c00", "#0277bd", "#8d6e63", "#546e7a"];
  const GLYPHS = {
    "rule of thirds": "M6 1v16M12 1v16M1 6h16M1 12h16",
    "centered": "M9 5a4 4 0 1 0 0 8a4 4 0 1 0 0-8M9 1v2M9 15v2M1 9h2M15 9h2",
    "pattern": "M3 3h3v3H3zM12 3h3v3h-3zM3 12h3v3H3zM12 12h3v3h-3zM7.5 7.5h3v3h-3z",
    "leading lines": "M1 17 9 5l8 12M5 17 9 5l4 12",
    "symmetry": "M9 1v16M7 4 2 14h5zM11 4l5 10h-5z",
    "framing": "M2 2h14v14H2zM5.5 5.5h7v7h-7z",
  };

  // Elements --------------------------------------------------------------------------------------

  function el(name, given = {}, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(given)) {
      if (key.startsWith("aria-") || key === "role") made.setAttribute(key, value);
      else made[key] = value;
    }
    made.append(...inside.filter(one => one !== null && one !== undefined));
    return made;
  }

  function svg(name, given = {}, ...inside) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  function glyph(name) {
    if (!GLYPHS[name]) return null;
    const path = svg("path", { d: GLYPHS[name], fill: "none", stroke: "currentColor", "stroke-width": 1.4 });
    return svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, path);
  }

  const lens = svg("svg", { width: 16, height: 16, viewBox: "0 0 16 16", fill: "none", stroke: "currentColor",
    "stroke-width": 1.8, "aria-hidden": "true" },
    svg("circle", { cx: 7, cy: 7, r: 5 }), svg("path", { d: "m11 11 4 4" }));
  const number = value => value.toLocaleString("en");
  const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

  const chips = el("div", { className: "chips" });
  const query = el("input", { type: "search", placeholder: "Search: red car, symmetry, warm …", autocomplete: "off",
    spellcheck: false, role: "combobox", "aria-label": "Search pictures", "aria-expanded": "false",
    "aria-controls": "suggest", "aria-autocomplete": "list" });
  const suggestions = el("div", { className: "suggest", id: "suggest", role: "listbox", "aria-label": "Tags" });
  const gridButton = el("button", { textContent: "Grid", "aria-pressed": "true", onclick: () => view(false) });
  const mapButton = el("button", { textContent: "Map", "aria-pressed": "false", onclick: () => view(true) });
  const filterButton = el("button", { className: "quiet narrow", textContent: "Filters",
    "aria-expanded": "false", onclick: () => filtering(!app.classList.contains("filtering")) });
  const selectButton = el("button", { className: "quiet", textContent: "Select", "aria-pressed": "false",
    title: "choose several pictures (s)", onclick: () => selecting(!isSelecting) });
  const order = el("select", { "aria-label": "Order" });
  const size = el("input", { type: "range", min: 90, max: 340, value: 200, "aria-label": "Size of pictures" });
  const facets = el("aside", { "aria-label": "Filters" });
  const note = el("div", { className: "note", role: "status" });
  const grid = el("div", { className: "grid", role: "group", "aria-label": "Pictures" });
  const scroll = el("div", { className: "scroll" }, note, grid);
  const canvas = el("canvas", { role: "img", "aria-label": "Map of the pictures: neighbours look alike" });
  const tip = el("div", { className: "tip" });
  const keys = el("div", { className: "keys" });
  const acts = el("div", { className: "acts", role: "group", "aria-label": "Chosen pictures" });
  const dialog = el("dialog", { "aria-label": "Picture" });
  const total = el("span", { className: "soft", textContent: ` ${number(count)}` });
  const views = el("div", { className: "seg", role: "group", "aria-label": "View" }, gridButton, mapButton);
  const box = el("div", { className: "search", role: "search" }, lens, chips, query, suggestions);
  const header = el("header", {}, el("h1", {}, data.title, total), box, views, filterButton, selectButton, order, size);
  const main = el("main", {}, scroll, canvas, tip, keys, acts);
  const app = el("div", { className: "app" }, header, facets, main, dialog);
  root.append(el("style", { textContent: host.style }), el("div", { className: "frame" }, app));

  // What is known of each picture -----------------------------------------------------------------

  const entries = data.of.map(list => list.map(([tag, score, source, accepted, boxes]) =>
    ({ tag, score, source, accepted, boxes })));
  const tagsOf = entries.map(list => new Set(list.map(one => one.tag)));
  const pictures = tags.map(() => []);
  tagsOf.forEach((set, i) => set.forEach(tag => pictures[tag].push(i)));
  const kindOf = tag => tags[tag][0], nameOf = tag => tags[tag][1];
  const numbered = new Map(tags.map(([kind, name], tag) => [kind + "\n" + name, tag]));
  const meanings = new Map(Object.entries(data.words || {}));
  const decisions = new Map();  // "i\nkind\nname" -> true or false

  for (const [i, list] of entries.entries()) {
    for (const one of list) {
      if (one.accepted !== null && one.accepted !== undefined) {
        decisions.set(key(i, kindOf(one.tag), nameOf(one.tag)), { accepted: one.accepted, old: true });
      }
    }
  }

  function key(i, kind, name) { return `${i}\n${kind}\n${name}` }
  function decided(i, kind, name) { return decisions.get(key(i, kind, name))?.accepted }
  function rejected(i, tag) { return decided(i, kindOf(tag), nameOf(tag)) === false }
  function scoreOf(i, tag) {
    return Math.max(0, ...entries[i].filter(one => one.tag === tag).map(one => one.score));
  }

  function label(i) {
    const named = [...tagsOf[i]].filter(tag => kindOf(tag) !== "tone" && !rejected(i, tag));
    return named.slice(0, 3).map(nameOf).join(" · ") || data.src[i] || data.id[i];
  }

  // Codes: one bit a number; what differs by few bits looks alike.

  const codes = data.bits ? new Uint32Array(bytesOf(data.bits).buffer) : new Uint32Array(0);
  const words = count ? codes.length / count : 0;

  function bitCount(x) {
    x -= x >>> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >>> 2 & 0x33333333);
    return ((x + (x >>> 4) & 0xf0f0f0f) * 0x1010101) >>> 24;
  }

  function alike(i, most) {
    if (!words) return [];
    const apart = new Float64Array(count);
    for (let j = 0; j < count; j++) {
      let bits = 0;
      for (let k = 0; k < words; k++) bits += bitCount(codes[i * words + k] ^ codes[j * words + k]);
      apart[j] = bits * 1048576 + j;
    }
    return [...apart.sort().subarray(0, most + 1)].map(x => x % 1048576).filter(j => j !== i).slice(0, most);
  }

  // Search: every word has to be met by a tag, an id, or a tag that means something near. ----------

  let chosen = new Set(), near = null, lassoed = null, results = [], rank = null, meant = [], hostNote = "";

  function matches(word) {
    const hits = new Map();
    tags.forEach(([, name], tag) => {
      const parts = name.toLowerCase().split(/[ /-]+/);
      if (name.toLowerCase() === word || parts.includes(word)) hits.set(tag, 1);
      else if (word.length > 2 && parts.some(part => part.startsWith(word))) hits.set(tag, .8);
    });
    const isExact = [...hits.values()].includes(1);
    for (const [tag, score] of meanings.get(word) || meanings.get(word.replace(/s$/, "")) || []) {
      if (!hits.has(tag) && score > (isExact ? 45 : 25)) {
        hits.set(tag, score / 100);
        meant.push(nameOf(tag));
      }
    }
    return hits;
  }

  function met(word) {
    const found = new Float32Array(count);
    for (const [tag, weight] of matches(word)) {
      for (const i of pictures[tag]) {
        if (!rejected(i, tag)) found[i] = Math.max(found[i], weight * (.5 + scoreOf(i, tag) / 200));
      }
    }
    if (word.length > 2) {
      data.id.forEach((id, i) => { if (id.toLowerCase().includes(word)) found[i] = Math.max(found[i], .9) });
      data.text?.forEach((text, i) => { if (text.includes(word)) found[i] = Math.max(found[i], .6) });
    }
    return found;
  }

  function byWords(text) {
    const terms = text.split(/\s+/).filter(word => word && !SMALL.includes(word));
    const kept = new Uint8Array(count).fill(1);
    rank = terms.length ? new Float32Array(count) : null;
    for (const term of terms) {
      const isNot = term[0] === "-" && term.length > 1;
      const found = met(isNot ? term.slice(1) : term);
      for (let i = 0; i < count; i++) {
        if (isNot ? found[i] > .5 : !found[i]) kept[i] = 0;
        else if (!isNot) rank[i] += found[i];
      }
    }
    return kept;
  }

  async function search() {
    const text = query.value.toLowerCase().trim();
    meant = [];
    hostNote = "";
    let kept, hostOrder = null;
    if (text && host.find) {
      const found = await host.find(query.value.trim());
      hostNote = found.note || "";
      kept = new Uint8Array(count);
      found.rows.forEach(i => kept[i] = 1);
      hostOrder = new Map(found.rows.map((i, place) => [i, place]));
      rank = Float32Array.from({ length: count }, (_, i) => hostOrder.has(i) ? 1 / (1 + hostOrder.get(i)) : 0);
    } else kept = byWords(text);
    results = data.order.filter(i => kept[i] && (!lassoed || lassoed.has(i))
      && [...chosen].every(tag => tagsOf[i].has(tag) && !rejected(i, tag)));
    arrange();
    showFacets();
    showNote();
    layout();
    if (isMapped) draw();
    remember(text);
  }

  function arrange() {
    const by = order.value;
    if (near !== null) {
      const places = new Map(alike(near, count).map((j, k) => [j, k + 1]));
      places.set(near, 0);
      results = results.sort((a, b) => places.get(a) - places.get(b)).slice(0, 200);
    } else if (by === "best") {
      if (rank) results.sort((a, b) => rank[b] - rank[a]);
    } else if (by === "rows") results.sort((a, b) => a - b);
    else {
      const values = data.numbers[by];
      results.sort((a, b) => values[b] - values[a]);
    }
  }

  function remember(text) {
    if (host.kind !== "file") return;
    const state = new URLSearchParams();
    if (text) state.set("q", text);
    if (chosen.size) state.set("tags", [...chosen].map(tag => tags[tag].join(":")).join("|"));
    history.replaceState(null, "", "#" + state);
  }

  function forget() {
    chosen.clear();
    near = lassoed = null;
    query.value = "";
    search();
  }

  function chip(text, away) {
    return el("button", { className: "chip", textContent: text, title: "take away", onclick: () => { away(); search() } });
  }

  function showNote() {
    chips.replaceChildren(...[...chosen].map(tag => chip(nameOf(tag), () => chosen.delete(tag))));
    if (lassoed) chips.append(chip(`${lassoed.size} of the map`, () => lassoed = null));
    if (near !== null) chips.append(chip("like " + data.id[near], () => near = null));
    note.replaceChildren(el("b", { textContent: plural(results.length, "picture") }));
    const also = [...new Set(meant)].slice(0, 8);
    if (also.length) note.append(el("span", { textContent: "also: " + also.join(", ") }));
    if (hostNote) note.append(el("span", { textContent: hostNote }));
    const fresh = corrections().length;
    if (fresh && !host.decide) {
      note.append(el("button", { textContent: `Save ${plural(fresh, "correction")}`, onclick: save }));
    }
    grid.parentElement.querySelector(".empty")?.remove();
    if (!results.length) grid.before(nothing());
  }

  function nothing() {
    const common = tags.map((_, tag) => tag).sort((a, b) => pictures[b].length - pictures[a].length).slice(0, 5);
    const said = query.value.trim() ? `Nothing here is like “${query.value.trim()}”.` : "No picture has all of these.";
    const offers = common.map(tag => el("button", { textContent: nameOf(tag), onclick: () => {
      forget();
      chosen.add(tag);
      search();
    } }));
    const all = el("button", { textContent: "show all", onclick: forget });
    const told = count ? el("b", { textContent: said }) : el("b", { textContent: "There are no pictures yet." });
    return el("div", { className: "empty" }, told, ...(count ? [el("span", {}, "There is: "), ...offers, all] : []));
  }

  // Corrections -------------------------------------------------------------------------------------

  function decide(i, kind, name, accepted) {
    const where = key(i, kind, name), before = decisions.get(where);
    if (before?.accepted === accepted && !before.old) decisions.delete(where);
    else decisions.set(where, { accepted, old: false });
    const said = { image_id: data.id[i], kind, name, accepted };
    if (host.decide && decisions.has(where)) host.decide([said]);
  }

  function corrections() {
    return [...decisions].filter(([, one]) => !one.old).map(([where, { accepted }]) => {
      const [i, kind, name] = where.split("\n");
      return { image_id: data.id[+i], kind, name, accepted };
    });
  }

  function save() {
    const text = JSON.stringify({ dataset: data.title, corrections: corrections() }, null, 1);
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    el("a", { href, download: "corrections.json" }).click();
    decisions.forEach(one => one.old = true);
    showNote();
  }

  // Filters -----------------------------------------------------------------------------------------

  const opened = new Set();

  function showFacets() {
    const counts = new Uint32Array(tags.length);
    results.forEach(i => tagsOf[i].forEach(tag => counts[tag] += !rejected(i, tag)));
    const focused = root.activeElement?.dataset?.tag;
    const close = el("button", { className: "done", textContent: `Show ${plural(results.length, "picture")}`,
      onclick: () => filtering(false) });
    facets.replaceChildren(...data.kinds.map(kind => facetSection(kind, counts)).filter(Boolean), close);
    if (focused !== undefined) facets.querySelector(`[data-tag="${focused}"]`)?.focus();
  }

  function facetSection(kind, counts) {
    const all = tags.map((_, tag) => tag).filter(tag => kindOf(tag) === kind && (counts[tag] || chosen.has(tag)));
    if (!all.length) return null;
    const drawn = Object.keys(GLYPHS);
    if (kind === "composition") all.sort((a, b) => drawn.indexOf(nameOf(a)) - drawn.indexOf(nameOf(b)));
    else all.sort((a, b) => counts[b] - counts[a]);
    const shown = all.slice(0, opened.has(kind) ? 300 : 12);
    const most = Math.max(1, ...all.map(tag => counts[tag]));
    const more = all.length > shown.length || opened.has(kind)
      ? el("button", { className: "soft", textContent: opened.has(kind) ? "fewer" : `all ${all.length}`, onclick: () => {
        opened.has(kind) ? opened.delete(kind) : opened.add(kind);
        showFacets();
      } }) : null;
    return el("section", { "aria-label": kind }, el("h2", {}, kind, more), ...shown.map(tag => facet(tag, counts[tag], most)));
  }

  function facet(tag, n, most) {
    const made = el("button", { className: "facet", "aria-pressed": String(chosen.has(tag)), onclick: () => {
      chosen.has(tag) ? chosen.delete(tag) : chosen.add(tag);
      search();
    } }, glyph(nameOf(tag)), el("span", { className: "name", textContent: nameOf(tag) }),
    el("span", { className: "soft count", textContent: number(n) }));
    if (!GLYPHS[nameOf(tag)]) made.style.gridTemplateColumns = "1fr auto";
    made.dataset.tag = tag;
    made.style.setProperty("--share", n / most);
    return made;
  }

  function filtering(on) {
    app.classList.toggle("filtering", on);
    filterButton.setAttribute("aria-expanded", on);
    if (on) facets.querySelector("button")?.focus();
  }

  // Justified rows; only those near the window are in the page. -------------------------------------

  let rows = [], tiles = new Map(), focus = 0;
  const isNarrow = () => app.clientWidth <= 560, isMiddling = () => app.clientWidth <= 860;

  function layout(from = 0) {
    const hadFocus = grid.contains(root.activeElement);
    const width = grid.clientWidth, gap = isNarrow() ? 3 : 6;
    const target = +size.value * (isNarrow() ? .62 : isMiddling() ? .82 : 1);
    rows = [];
    let y = 0, row = [], sum = 0;
    function finish(height) {
      let x = 0;
      const placed = row.map(place => {
        const i = results[place], wide = shape(i) * height, at = { place, x, wide };
        x += wide + gap;
        return at;
      });
      rows.push({ y, height, placed });
      y += height + gap;
      row = [];
      sum = 0;
    }
    results.forEach((i, place) => {
      row.push(place);
      sum += shape(i);
      const height = (width - gap * (row.length - 1)) / sum;
      if (height <= target) finish(height);
    });
    if (row.length) finish(Math.min(target, (width - gap * (row.length - 1)) / sum));
    grid.style.height = `${y + 60}px`;
    tiles.forEach(tile => tile.remove());
    tiles.clear();
    focus = Math.min(focus, Math.max(0, results.length - 1));
    scroll.scrollTop = from;
    showTiles();
    if (hadFocus) go(focus);
  }

  function shape(i) { return Math.min(3.2, Math.max(.45, data.w[i] / data.h[i])) }

  function showTiles() {
    const tall = scroll.clientHeight, top = scroll.scrollTop - 60 - tall * .7, end = top + tall * 2.4;
    let first = 0, last = rows.length;
    while (first < last) {
      const middle = first + last >> 1;
      if (rows[middle].y + rows[middle].height < top) first = middle + 1;
      else last = middle;
    }
    const kept = new Set();
    for (let r = first; r < rows.length && rows[r].y < end; r++) {
      for (const at of rows[r].placed) {
        kept.add(at.place);
        if (!tiles.has(at.place)) tiles.set(at.place, tile(at, rows[r]));
      }
    }
    tiles.forEach((one, place) => {
      if (!kept.has(place)) {
        one.remove();
        tiles.delete(place);
      }
    });
  }

  function tile({ place, x, wide }, { y, height }) {
    const i = results[place];
    const image = el("img", { src: host.picture(i), alt: "", decoding: "async", draggable: false });
    const made = el("button", { className: "tile", "aria-label": `${data.id[i]}: ${label(i)}`, onclick: event => {
      if (isSelecting || event.shiftKey || event.metaKey || event.ctrlKey) pick(i);
      else open(place);
    } }, image, el("span", { className: "words", textContent: label(i), "aria-hidden": "true" }));
    made.tabIndex = place === focus ? 0 : -1;
    made.style.cssText = `left:${x}px;top:${y}px;width:${wide}px;height:${height}px`;
    mark(made, i);
    grid.append(made);
    return made;
  }

  function mark(made, i) {
    const isDecided = corrected.has(i);
    made.classList.toggle("picked", picked.has(i));
    made.classList.toggle("decided", isDecided && !picked.has(i));
    if (isSelecting) made.setAttribute("aria-pressed", picked.has(i));
    else made.removeAttribute("aria-pressed");
  }

  const corrected = new Set([...decisions.keys()].map(where => +where.split("\n")[0]));

  function go(place) {
    focus = Math.max(0, Math.min(results.length - 1, place));
    const row = rows.find(one => one.placed.some(at => at.place === focus));
    if (!row) return;
    if (row.y < scroll.scrollTop) scroll.scrollTop = row.y;
    const below = row.y + row.height + 70;
    if (below > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = below - scroll.clientHeight;
    showTiles();
    tiles.forEach((one, at) => one.tabIndex = at === focus ? 0 : -1);
    tiles.get(focus)?.focus({ preventScroll: true });
  }

  function step(arrow) {
    if (arrow === "ArrowRight") return focus + 1;
    if (arrow === "ArrowLeft") return focus - 1;
    const here = rows.findIndex(one => one.placed.some(at => at.place === focus));
    const next = rows[here + (arrow === "ArrowDown" ? 1 : -1)];
    if (!next) return focus;
    const own = rows[here].placed.find(at => at.place === focus), middle = own.x + own.wide / 2;
    const off = at => Math.abs(at.x + at.wide / 2 - middle);
    return next.placed.reduce((best, at) => off(at) < off(best) ? at : best).place;
  }

  let waiting = 0;
  scroll.addEventListener("scroll", () => {
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; showTiles() });
  }, { passive: true });

  // Several at once ---------------------------------------------------------------------------------

  let isSelecting = false;
  const picked = new Set();

  function selecting(on) {
    isSelecting = on;
    if (!on) picked.clear();
    selectButton.setAttribute("aria-pressed", on);
    app.classList.toggle("selecting", on);
    tiles.forEach((one, place) => mark(one, results[place]));
    showActs();
  }

  function pick(i) {
    if (!isSelecting) selecting(true);
    picked.has(i) ? picked.delete(i) : picked.add(i);
    tiles.forEach((one, place) => { if (results[place] === i) mark(one, i) });
    showActs();
  }

  function showActs() {
    acts.classList.toggle("open", isSelecting);
    if (!isSelecting) return;
    const typed = el("input", { placeholder: "a tag", "aria-label": "Tag for the chosen pictures" });
    if (chosen.size === 1) typed.value = nameOf([...chosen][0]);
    typed.value = acts.querySelector("input")?.value || typed.value;
    const all = accepted => {
      const name = typed.value.trim();
      if (!name || !picked.size) return typed.focus();
      const known = tags.findIndex(([, other]) => other === name);
      for (const i of picked) setDecision(i, known < 0 ? "tag" : kindOf(known), name, accepted);
      selecting(false);
      showNote();
      showFacets();
    };
    acts.replaceChildren(el("b", { textContent: plural(picked.size, "picture") }), typed,
      el("button", { className: "yes", textContent: "✓ is right", onclick: () => all(true) }),
      el("button", { className: "no", textContent: "✗ is wrong", onclick: () => all(false) }),
      el("button", { textContent: "all", title: "choose all that are found", onclick: () => {
        results.forEach(i => picked.add(i));
        tiles.forEach((one, place) => mark(one, results[place]));
        showActs();
      } }),
      host.remove ? el("button", { className: "no", textContent: "Delete", onclick: () => {
        if (picked.size && confirm(`Delete ${plural(picked.size, "picture")}?`)) host.remove([...picked]);
      } }) : "",
      el("button", { textContent: "Done", onclick: () => selecting(false) }));
  }

  function setDecision(i, kind, name, accepted) {
    decisions.delete(key(i, kind, name));
    decide(i, kind, name, accepted);
    corrected.add(i);
  }

  // One picture: its tags, who says so, and what was seen -------------------------------------------

  let at = 0;
  const shown = new Set();

  function open(place) {
    at = place;
    shown.clear();
    const i = results[place];
    const fit = el("div", { className: "fit" }, el("img", { src: (host.large || host.picture)(i), alt: label(i) }));
    const ratio = data.w[i] / data.h[i];
    fit.style.aspectRatio = String(ratio);
    fit.style.width = `min(100cqw, ${ratio} * 100cqh)`;
    const before = el("button", { className: "round before", textContent: "‹", "aria-label": "previous picture",
      disabled: place === 0, onclick: () => open(place - 1) });
    const after = el("button", { className: "round after", textContent: "›", "aria-label": "next picture",
      disabled: place + 1 >= results.length, onclick: () => open(place + 1) });
    const close = el("button", { className: "round close", textContent: "✕", "aria-label": "close",
      onclick: () => dialog.close() });
    const stage = el("div", { className: "stage" }, fit, before, after, close);
    const keep = dialog.querySelector(".side")?.scrollTop || 0;
    const side = detailSide(i, fit);
    dialog.replaceChildren(stage, side);
    dialog.setAttribute("aria-label", `${data.id[i]}: ${label(i)}`);
    dialog.style.setProperty("--ratio", ratio);
    if (!dialog.open) dialog.showModal();
    else side.scrollTop = keep;
    side.focus({ preventScroll: true });
    stage.addEventListener("touchstart", event => swipe = event.touches[0].clientX, { passive: true });
    stage.addEventListener("touchend", event => {
      const moved = event.changedTouches[0].clientX - swipe;
      if (Math.abs(moved) > 60) open(Math.max(0, Math.min(results.length - 1, at + (moved < 0 ? 1 : -1))));
    });
  }

  let swipe = 0;
  dialog.addEventListener("close", () => { if (!isMapped) go(at) });

  function detailSide(i, fit) {
    const size = data.wide ? `${number(data.wide[i])} × ${number(data.high[i])}` : `${data.w[i]} × ${data.h[i]}`;
    const side = el("div", { className: "side", tabIndex: -1 }, el("h2", { textContent: data.src[i] || data.id[i] }),
      el("p", { className: "soft", textContent: [size, data.src[i] && data.id[i]].filter(Boolean).join(" · ") }));
    for (const kind of kindsOf(i)) {
      const names = kind === "composition" && data.scores ? Object.keys(GLYPHS) : namesOf(i, kind);
      if (names.length) side.append(el("h3", { textContent: kind }), ...names.map(name => tagLine(i, kind, name, fit)));
    }
    side.append(addLine(i, fit));
    if (data.colours?.[i]?.length) side.append(el("h3", { textContent: "colours" }), swatches(i));
    const like = alike(i, 12);
    if (like.length) side.append(el("h3", {}, "more like this ", el("button", { className: "soft", textContent: "· all",
      onclick: () => showAlike(i) })), el("div", { className: "like" }, ...like.map(likeTile)));
    return side;
  }

  function kindsOf(i) {
    const own = [...decisions.keys()].filter(where => where.startsWith(i + "\n")).map(where => where.split("\n")[1]);
    return [...new Set([...(data.scores ? ["composition"] : []), ...data.kinds, ...own])];
  }

  function namesOf(i, kind) {
    const own = [...tagsOf[i]].filter(tag => kindOf(tag) === kind).map(nameOf);
    const said = [...decisions].filter(([where]) => where.startsWith(`${i}\n${kind}\n`));
    return [...new Set([...own, ...said.map(([where]) => where.split("\n")[2])])];
  }

  function tagLine(i, kind, name, fit) {
    const tag = numbered.get(kind + "\n" + name);
    const said = entries[i].filter(one => one.tag === tag);
    const verdict = decided(i, kind, name);
    const measured = kind === "composition" ? data.scores?.[name]?.[i] : undefined;
    const score = said.length ? Math.max(...said.map(one => one.score)) : measured ?? (verdict ? 100 : 0);
    const who = [...new Set(said.map(one => data.sources[one.source]))];
    const isLow = !said.length && measured !== undefined && verdict !== true;
    const find = el("button", { textContent: name, title: `show all with “${name}”`, onclick: () => onlyTag(tag) });
    if (kind === "composition") find.style.fontWeight = said.length ? "600" : "400";
    const meter = el("span", { className: "meter", role: "img", "aria-label": `score ${score} of 100` }, el("i"));
    meter.firstChild.style.width = `${score}%`;
    meter.title = `${score} of 100`;
    const line = el("div", { className: "tag" + (verdict === false ? " no" : "") + (isLow ? " low" : "") },
      el("span", { className: "what" }, find, el("span", { className: "who", textContent: who.join(", ") })),
      meter, tick(i, kind, name, true, verdict), tick(i, kind, name, false, verdict));
    line.dataset.name = name;
    const draw = on => { on ? shown.add(name) : shown.delete(name); drawSeen(i, fit) };
    line.onmouseenter = line.onfocusin = () => draw(true);
    line.onmouseleave = line.onfocusout = () => draw(false);
    line.onclick = () => draw(true);
    line.onkeydown = event => {
      if (event.key === "a" || event.key === "x") answer(i, kind, name, event.key === "a");
    };
    return line;
  }

  function tick(i, kind, name, accepted, verdict) {
    return el("button", { className: `tick ${accepted ? "right" : "wrong"}`, textContent: accepted ? "✓" : "✗",
      title: accepted ? "right (a)" : "wrong (x)", "aria-pressed": String(verdict === accepted),
      "aria-label": `${name} is ${accepted ? "right" : "wrong"}`, onclick: event => {
        event.stopPropagation();
        answer(i, kind, name, accepted);
      } });
  }

  function answer(i, kind, name, accepted) {
    decide(i, kind, name, accepted);
    corrected.add(i);
    const mine = root.activeElement?.className;
    open(at);
    const line = [...dialog.querySelectorAll(".tag")].find(one => one.dataset.name === name);
    line?.querySelector(mine?.includes("wrong") ? ".wrong" : ".right")?.focus();
    tiles.forEach((one, place) => mark(one, results[place]));
    showNote();
    showFacets();
  }

  function addLine(i) {
    const typed = el("input", { placeholder: "add a tag", "aria-label": "Add a tag", maxLength: 120 });
    const add = () => {
      const name = typed.value.trim();
      if (name) answer(i, "tag", name, true);
    };
    typed.onkeydown = event => { if (event.key === "Enter") add() };
    return el("div", { className: "add" }, typed, el("button", { textContent: "Add", onclick: add }));
  }

  function onlyTag(tag) {
    if (tag === undefined) return;
    dialog.close();
    near = null;
    chosen = new Set([tag]);
    query.value = "";
    search();
  }

  function showAlike(i) {
    dialog.close();
    near = i;
    chosen.clear();
    query.value = "";
    search();
  }

  function likeTile(j) {
    return el("button", { "aria-label": `${data.id[j]}: ${label(j)}`, onclick: () => {
      let place = results.indexOf(j);
      if (place < 0) {
        results = [j, ...results];
        layout();
        place = 0;
      }
      open(place);
    } }, el("img", { src: host.picture(j), alt: "", loading: "lazy" }));
  }

  function swatches(i) {
    const made = el("div", { className: "swatches", role: "img", "aria-label": "its five colours" });
    for (const colour of data.colours[i]) {
      const one = el("i", { title: colour });
      one.style.background = colour;
      made.append(one);
    }
    return made;
  }

  // What was seen, drawn over the picture. Evidence is in shares of width and height.

  function drawSeen(i, fit) {
    fit.querySelector("svg")?.remove();
    const high = 1000 * data.h[i] / data.w[i];
    const made = svg("svg", { viewBox: `0 0 1000 ${high}`, "aria-hidden": "true", preserveAspectRatio: "none" });
    const add = (name, given, more = "") => made.append(svg(name, { class: `seen ${more}`, ...given }));
    for (const name of shown) {
      const seen = data.evidence[i]?.[name];
      if (seen && GLYPHS[name]) DRAWN[name](seen, add, high);
      for (const one of entries[i]) {
        if (nameOf(one.tag) === name) one.boxes?.forEach(box => add("rect", rectangle(box, high)));
      }
    }
    fit.append(made);
  }

  function rectangle([x, y, w, h], high) {
    return { x: x * 1000, y: y * high, width: w * 1000, height: h * high, rx: 3 };
  }

  const DRAWN = {
    "rule of thirds"(seen, add, high) {
      for (const k of [1 / 3, 2 / 3]) {
        add("path", { d: `M${k * 1000} 0V${high}M0 ${k * high}H1000` }, "faint");
      }
      if (seen.box) add("rect", rectangle(seen.box, high));
      if (seen.point) add("circle", { cx: seen.point[0] * 1000, cy: seen.point[1] * high, r: 9 }, "dot");
    },
    centered(seen, add, high) {
      add("path", { d: `M500 ${high / 2 - 34}v68M466 ${high / 2}h68` }, "faint");
      add("circle", { cx: seen.point[0] * 1000, cy: seen.point[1] * high, r: 44 });
    },
    symmetry(seen, add, high) {
      const path = seen.axis === "vertical" ? `M${seen.at * 1000} 0V${high}` : `M0 ${seen.at * high}H1000`;
      add("path", { d: path }, "dashed");
    },
    "leading lines"(seen, add, high) {
      for (const [x0, y0, x1, y1] of seen.lines) {
        add("path", { d: `M${x0 * 1000} ${y0 * high}L${x1 * 1000} ${y1 * high}` });
      }
      add("circle", { cx: seen.point[0] * 1000, cy: seen.point[1] * high, r: 11 }, "dot");
    },
    pattern(seen, add, high) {
      const [x, y] = [seen.period[0] * 1000, seen.period[1] * high];
      for (let k = -9; k <= 9; k++) {
        const cx = 500 + k * x, cy = high / 2 + k * y;
        if (cx > 0 && cx < 1000 && cy > 0 && cy < high) add("circle", { cx, cy, r: 9 }, k ? "" : "dot");
      }
      add("path", { d: `M500 ${high / 2}l${x} ${y}` });
    },
    framing(seen, add, high) { add("rect", rectangle(seen.box, high), "dashed") },
  };

  // The map: points when far, pictures when near. Drag moves, wheel zooms, shift-drag picks. ---------

  let isMapped = false, zoom = 1, left = 0, above = 0, lasso = null, drag = null, late = 0;
  const images = new Map();

  function placed() {
    const w = canvas.clientWidth, h = canvas.clientHeight, side = Math.min(w, h) * .9 * zoom;
    return i => [w / 2 + left + (data.x[i] / 65535 - .5) * side, h / 2 + above + (data.y[i] / 65535 - .5) * side];
  }

  function draw() {
    const dense = devicePixelRatio, w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = w * dense;
    canvas.height = h * dense;
    const pen = canvas.getContext("2d"), where = placed(), on = new Set(results);
    pen.scale(dense, dense);
    const spread = Math.min(w, h) * .9 * zoom / Math.sqrt(Math.max(1, count));
    const side = Math.min(96, spread * .8);
    keys.classList.toggle("bare", side > 16);
    for (const isFound of [false, true]) {
      for (let i = 0; i < count; i++) {
        if (on.has(i) !== isFound) continue;
        const [x, y] = where(i);
        if (x < -60 || y < -60 || x > w + 60 || y > h + 60) continue;
        if (!(isFound && side > 16 && drawPicture(pen, i, x, y, side))) drawPoint(pen, i, x, y, isFound);
      }
    }
    if (lasso) {
      pen.strokeStyle = "#d9730d";
      pen.lineWidth = 1.5;
      pen.beginPath();
      lasso.forEach(([x, y], k) => k ? pen.lineTo(x, y) : pen.moveTo(x, y));
      pen.closePath();
      pen.stroke();
    }
  }

  function drawPicture(pen, i, x, y, side) {
    let image = images.get(i);
    if (!image) {
      image = new Image();
      image.onload = () => { if (isMapped && !late) late = setTimeout(() => { late = 0; draw() }, 50) };
      image.src = host.picture(i);
      images.set(i, image);
    }
    if (!image.complete || !image.naturalWidth) return false;
    const ratio = data.w[i] / data.h[i];
    const w = ratio > 1 ? side : side * ratio, h = ratio > 1 ? side / ratio : side;
    pen.drawImage(image, x - w / 2, y - h / 2, w, h);
    return true;
  }

  function drawPoint(pen, i, x, y, isFound) {
    const hue = data.top.findIndex(tag => tagsOf[i].has(tag));
    pen.globalAlpha = isFound ? .85 : .14;
    pen.fillStyle = hue < 0 ? "#888" : HUES[hue];
    pen.beginPath();
    pen.arc(x, y, Math.max(1.8, Math.min(5, 2.2 * Math.sqrt(zoom))), 0, 7);
    pen.fill();
    pen.globalAlpha = 1;
  }

  function showKeys() {
    keys.replaceChildren(...data.top.map((tag, k) => {
      const point = el("i");
      point.style.background = HUES[k];
      return el("span", {}, point, nameOf(tag));
    }), el("span", { className: "soft", textContent: `${data.map}: neighbours look alike; shift-drag picks` }));
  }

  function nearest(x, y) {
    const where = placed();
    let best = -1, least = 900;
    for (const i of results) {
      const [a, b] = where(i), apart = (a - x) ** 2 + (b - y) ** 2;
      if (apart < least) { least = apart; best = i }
    }
    return best;
  }

  function inside(outline, x, y) {
    let is = false;
    for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
      const [a, b] = outline[i], [c, d] = outline[j];
      if (b > y !== d > y && x < (c - a) * (y - b) / (d - b) + a) is = !is;
    }
    return is;
  }

  const fingers = new Map();
  let pinch = 0;
  canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    pinch = 0;
    drag = { x: event.offsetX, y: event.offsetY, left, above, moved: false };
    if (event.shiftKey) lasso = [[event.offsetX, event.offsetY]];
  };
  canvas.onpointermove = event => {
    const x = event.offsetX, y = event.offsetY;
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [x, y]);
    if (fingers.size === 2) return pinched();
    if (lasso && drag) {
      lasso.push([x, y]);
      return draw();
    }
    if (drag) {
      left = drag.left + x - drag.x;
      above = drag.above + y - drag.y;
      drag.moved ||= Math.abs(x - drag.x) + Math.abs(y - drag.y) > 4;
      return draw();
    }
    showTip(nearest(x, y), x, y);
  };
  canvas.onpointerup = canvas.onpointercancel = event => {
    fingers.delete(event.pointerId);
    if (lasso) {
      const where = placed(), found = results.filter(i => inside(lasso, ...where(i)));
      lasso = null;
      if (found.length) {
        lassoed = new Set(found);
        search();
      } else draw();
    } else if (drag && !drag.moved && event.type === "pointerup") {
      const i = nearest(event.offsetX, event.offsetY);
      if (i >= 0) open(results.indexOf(i));
    }
    drag = null;
  };
  canvas.onpointerleave = () => tip.style.display = "none";
  canvas.onwheel = event => {
    event.preventDefault();
    zoomed(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  };

  function pinched() {
    const [[a, b], [c, d]] = [...fingers.values()], apart = Math.hypot(a - c, b - d);
    if (pinch) zoomed(apart / pinch, (a + c) / 2, (b + d) / 2);
    pinch = apart;
    if (drag) drag.moved = true;
  }

  function zoomed(by, x, y) {
    const next = Math.max(.8, Math.min(60, zoom * by)), factor = next / zoom;
    const right = x - canvas.clientWidth / 2, down = y - canvas.clientHeight / 2;
    left = right - (right - left) * factor;
    above = down - (down - above) * factor;
    zoom = next;
    draw();
  }

  function showTip(i, x, y) {
    tip.style.display = i < 0 ? "none" : "block";
    if (i < 0) return;
    tip.replaceChildren(el("img", { src: host.picture(i), alt: "" }), label(i));
    tip.style.left = `${Math.min(x + 14, canvas.clientWidth - 210)}px`;
    tip.style.top = `${Math.min(y + 14, canvas.clientHeight - 230)}px`;
  }

  function view(asMap) {
    isMapped = asMap;
    app.classList.toggle("mapped", asMap);
    mapButton.setAttribute("aria-pressed", asMap);
    gridButton.setAttribute("aria-pressed", !asMap);
    tip.style.display = "none";
    if (asMap) draw();
  }

  // Typing and keys ---------------------------------------------------------------------------------

  let typing = 0;
  query.oninput = () => {
    clearTimeout(typing);
    suggest();
    typing = setTimeout(() => { near = null; search() }, host.find ? 250 : 60);
  };
  size.oninput = () => layout();
  order.onchange = search;
  let known = 0;
  new ResizeObserver(() => {
    if (main.clientWidth === known) showTiles();
    else layout(scroll.scrollTop);
    known = main.clientWidth;
    if (isMapped) draw();
  }).observe(main);
  main.addEventListener("click", () => { if (app.classList.contains("filtering")) filtering(false) });
  root.addEventListener("click", event => { if (!event.target.closest?.(".search")) closeSuggestions() });

  function suggest() {
    const word = query.value.toLowerCase().split(/\s+/).pop();
    const fit = name => name.startsWith(word) ? 2 : name.includes(" " + word) ? 1 : 0;
    const hits = word.length < 2 ? [] : tags.map(([, name], tag) => [fit(name.toLowerCase()), pictures[tag].length, tag])
      .filter(hit => hit[0] && hit[1]).sort((a, b) => b[0] - a[0] || b[1] - a[1]).slice(0, 6);
    suggestions.classList.toggle("open", hits.length > 0);
    query.setAttribute("aria-expanded", hits.length > 0);
    suggestions.replaceChildren(...hits.map(([, n, tag]) => el("button", { role: "option", "aria-selected": "false",
      tabIndex: -1, onclick: () => take(tag) }, nameOf(tag),
    el("span", { className: "soft", textContent: `${kindOf(tag)} · ${number(n)}` }))));
  }

  function take(tag) {
    chosen.add(tag);
    query.value = query.value.replace(/\S+$/, "");
    closeSuggestions();
    search();
    query.focus();
  }

  function closeSuggestions() {
    suggestions.classList.remove("open");
    query.setAttribute("aria-expanded", "false");
  }

  function moveSuggestion(by) {
    const all = [...suggestions.children], now = all.findIndex(one => one.getAttribute("aria-selected") === "true");
    const next = Math.max(-1, Math.min(all.length - 1, now + by));
    all.forEach((one, k) => one.setAttribute("aria-selected", k === next));
  }

  query.onkeydown = event => {
    const isOpen = suggestions.classList.contains("open");
    if (event.key === "Escape") {
      isOpen ? closeSuggestions() : query.blur();
      event.stopPropagation();
    } else if (isOpen && event.key.startsWith("Arrow") && event.key.length < 10) {
      moveSuggestion(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
    } else if (event.key === "Enter") {
      event.preventDefault();  // else the picture that gets the focus is opened by the same key
      const taken = suggestions.querySelector('[aria-selected="true"]');
      taken && isOpen ? taken.click() : (closeSuggestions(), go(0));
    } else if (event.key === "Backspace" && !query.value && chosen.size) {
      chosen.delete([...chosen].pop());
      search();
    }
  };

  const listener = event => {
    const target = event.composedPath()[0];
    if (target.matches?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog.open) {
      if (event.key === "ArrowRight" && at + 1 < results.length) open(at + 1);
      if (event.key === "ArrowLeft" && at > 0) open(at - 1);
      return;
    }
    const keys = { "/": () => query.focus(), m: () => view(!isMapped), s: () => selecting(!isSelecting),
      Home: () => go(0), End: () => go(results.length - 1),
      Escape: () => isSelecting ? selecting(false) : filtering(false) };
    if (event.key.startsWith("Arrow") && !isMapped && !target.closest?.("aside")) keys[event.key] = () => go(step(event.key));
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  };
  (host.kind === "file" ? document : root).addEventListener("keydown", listener);
  if (host.kind === "file") addEventListener("beforeunload", event => {
    if (corrections().length) event.preventDefault();
  });

  // Begin -------------------------------------------------------------------------------------------

  // A server's album has no order of rows: its newest come first.
  const isAlbum = host.kind === "server";
  order.append(el("option", { value: "best", textContent: isAlbum ? "Newest first" : "A spread of all" }),
    ...(isAlbum ? [] : [el("option", { value: "rows", textContent: "As in the dataset" })]),
    ...Object.keys(data.numbers).map(name => el("option", { value: name, textContent: name })));
  mapButton.hidden = views.hidden = !data.x;
  if (!data.x) views.style.display = "none";
  else showKeys();
  if (host.kind === "file") {
    const state = new URLSearchParams(location.hash.slice(1));
    query.value = state.get("q") || "";
    for (const named of (state.get("tags") || "").split("|")) {
      const tag = tags.findIndex(one => one.join(":") === named);
      if (tag >= 0) chosen.add(tag);
    }
  }
  search();
  return { search, open, view, query, corrections, settle: () => decisions.clear(), results: () => results, root,
    choose: tag => { chosen = new Set([tag]); return search() } };
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const plain = atob(text), made = new Uint8Array(plain.length);
  for (let i = 0; i < made.length; i++) made[i] = plain.charCodeAt(i);
  return made;
}

// The host that is one file: pictures in base64 chunks, each decoded when one of its pictures is first shown.
function fileHost() {
  const take = id => document.getElementById(id);
  const data = JSON.parse(take("data").textContent), urls = [], chunks = [];
  function picture(i) {
    if (data.files) return data.files[i];
    if (urls[i]) return urls[i];
    const [chunk, start, length] = data.at[i];
    if (!chunks[chunk]) {
      const held = take(`pictures-${chunk}`);
      chunks[chunk] = bytesOf(held.textContent);
      held.remove();
    }
    const bytes = chunks[chunk].subarray(start, start + length);
    return urls[i] = URL.createObjectURL(new Blob([bytes], { type: "image/webp" }));
  }
  return { kind: "file", data, style: take("style").textContent, picture };
}
