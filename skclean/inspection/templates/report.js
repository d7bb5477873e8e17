"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.rows.length) return;
  const STEP = 50, LISTED = 50;
  const byId = (id) => document.getElementById(id);
  const body = document.querySelector("#rows tbody");
  const controls = {};
  for (const id of ["search", "class-filter", "status-filter", "decision-filter", "order"]) controls[id] = byId(id);
  const pictures = data.pictures || {};
  const withPictures = Object.keys(pictures).length > 0;
  const key = "skclean-decisions-" + data.report;
  // "accept", "reject", or "other:" and the name of a class.
  const decisions = new Map();
  const OTHER = "other:";
  const undone = [];
  const choice = (value) => (value && value.startsWith(OTHER) ? "other" : value);
  // An input holds no line breaks.
  const typed = new Map(data.classes.map((name) => [name.replace(/[\r\n]/g, ""), name]));
  const few = data.classes.length <= LISTED;
  const known = (value) => ["accept", "reject"].includes(value) || (choice(value) === "other" && data.classes.includes(value.slice(OTHER.length)));
  let view = [], shown = STEP, backwards = false, current = -1, unsaved = false;

  // Decisions, kept by the browser where it lets us.

  let storage = null;
  try {
    storage = window.localStorage;
    storage.setItem(key + "-test", "1");
    storage.removeItem(key + "-test");
    const kept = JSON.parse(storage.getItem(key) || "{}");
    for (const [i, value] of Object.entries(kept || {})) {
      if (data.rows[i] && known(value)) decisions.set(Number(i), value);
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) refused();
  }

  function refused() {
    storage = null;
    byId("storage-note").hidden = false;
  }

  function save() {
    unsaved = true;
    if (!storage) return;
    try {
      storage.setItem(key, JSON.stringify(Object.fromEntries(decisions)));
    } catch {
      refused();
    }
  }

  window.addEventListener("beforeunload", (event) => {
    if (!storage && unsaved && decisions.size) event.preventDefault();
  });

  const label = (place) => (place < 0 ? "" : data.labels[place]);
  const decidable = (i, value) => value !== "accept" || data.rows[i].s >= 0;

  // A change is a list of [row, decision or undefined]; what was there before can be put back.
  function change(changes, remember = true) {
    const before = changes.map(([i]) => [i, decisions.get(i)]);
    for (const [i, value] of changes) {
      if (value) decisions.set(i, value);
      else decisions.delete(i);
      paint(i);
    }
    if (remember) undone.push(before);
    save();
    tally();
  }

  function decide(i, value) {
    if (!decidable(i, value)) return say("Nothing is suggested for this row");
    const taken = decisions.get(i) === value;
    change([[i, taken ? undefined : value]]);
    say((taken ? "Taken back" : value === "accept" ? "Accepted" : "Rejected") + ": row " + data.rows[i].id);
  }

  // What is suggested or given is accepted or rejected; an empty name takes back what the field shows.
  function relabel(i, name) {
    const row = data.rows[i];
    const value = !name ? undefined : name === label(row.s) ? "accept" : name === label(row.g) ? "reject" : OTHER + name;
    if (value === decisions.get(i) || (!name && !few && choice(decisions.get(i)) !== "other")) return paint(i);
    change([[i, value]]);
    say(name ? "Label of row " + row.id + " becomes " + name : "Taken back: row " + row.id);
  }

  function final(i) {
    const value = decisions.get(i), row = data.rows[i];
    return choice(value) === "other" ? value.slice(OTHER.length) : label(value === "accept" ? row.s : row.g);
  }

  function undo() {
    const before = undone.pop();
    if (!before) return;
    change(before, false);
    say("Undone: " + plural(before.length, "row"));
  }

  const plural = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");
  function say(text) {
    byId("live").textContent = text;
  }

  // Which rows, in which order.

  const words = data.rows.map((row) =>
    [row.id, label(row.g), label(row.s), row.text || "", row.why].join("\n").toLocaleLowerCase()
  );
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const orders = {
    worst: (a, b) => a - b,
    id: (a, b) => collator.compare(data.rows[a].id, data.rows[b].id),
    given: (a, b) => collator.compare(label(data.rows[a].g), label(data.rows[b].g)),
    suggested: (a, b) => collator.compare(label(data.rows[a].s), label(data.rows[b].s)),
    clean: (a, b) => (data.rows[a].p ?? 2) - (data.rows[b].p ?? 2),
    status: (a, b) => data.rows[a].st - data.rows[b].st,
  };

  function filter() {
    const sought = controls.search.value.trim().toLocaleLowerCase();
    const place = controls["class-filter"].value, status = controls["status-filter"].value;
    const decision = controls["decision-filter"].value, order = orders[controls.order.value];
    view = [];
    data.rows.forEach((row, i) => {
      if (sought && !words[i].includes(sought)) return;
      if (place && row.g !== Number(place) && row.s !== Number(place)) return;
      if (status && row.st !== Number(status)) return;
      if (decision && (choice(decisions.get(i)) || "open") !== decision) return;
      view.push(i);
    });
    view.sort((a, b) => (backwards ? -1 : 1) * order(a, b) || a - b);
    shown = STEP;
    current = -1;
    render();
  }

  function sortBy(name, toggle) {
    backwards = toggle && controls.order.value === name ? !backwards : false;
    controls.order.value = name;
    for (const button of document.querySelectorAll("#rows thead button")) {
      const head = button.closest("th");
      const own = [...head.querySelectorAll("button")].some((b) => b.dataset.order === name);
      if (own) head.setAttribute("aria-sort", backwards ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    filter();
  }

  // The table. Strings of users are set as text, never as markup.

  function make(tag, kind, text) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) {
      element.textContent = text;
      element.dir = "auto";
    }
    return element;
  }

  // Long names may break behind an underscore.
  function named(kind, text, type = "span") {
    const element = make(type, kind, "");
    element.append(...text.split(/(?<=_)/).flatMap((part, i) => (i ? [make("wbr"), part] : [part])));
    return element;
  }

  function picture(row, what) {
    const image = make("img");
    image.alt = what;
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("load", () => {
      if (image.naturalWidth < 40) image.classList.add("pixels");
    });
    image.src = pictures[row];
    return image;
  }

  function cell(name, ...children) {
    const td = make("td");
    if (name) td.dataset.name = name;
    td.append(...children);
    return td;
  }

  function tag(place, kind, missing) {
    return place < 0 ? make("span", "missing", missing) : named("label " + kind, data.labels[place]);
  }

  function meter(value) {
    if (value === null) return [make("span", "missing", data.told ? "not judged" : "cannot tell")];
    const bar = make("div", "meter"), part = make("i");
    part.style.width = 100 * value + "%";
    bar.append(part);
    return [make("span", "", data.ranking ? value.toFixed(3) : share(value)), bar];
  }

  const share = (value) =>
    value < 0.001 ? "< 0.1 %" : value > 0.999 ? "> 99.9 %" : (100 * value).toFixed(1) + " %";

  function itemCell(row) {
    const item = make("div", "item"), side = make("div");
    if (pictures[row.row]) item.append(picture(row.row, "Picture of row " + row.id));
    else if (withPictures) item.append(make("span", "none", "no picture"));
    if (row.text !== null) {
      const text = make("div", "text", row.text);
      side.append(text);
      if (row.text.length > 160 || row.text.split("\n").length > 4) side.append(unfolder(text));
    }
    side.append(make("div", "id", row.id));
    item.append(side);
    return cell("", item);
  }

  function unfolder(text) {
    const button = make("button", "unfold", "more");
    button.type = "button";
    button.addEventListener("click", () => {
      button.textContent = text.classList.toggle("open") ? "less" : "more";
    });
    return button;
  }

  function nearCell(row) {
    const name = data.trusted ? "Nearest trusted rows" : "Nearest rows kept";
    if (!row.near.length) return cell(name, make("span", "missing", "none"));
    const list = make("ul", "near");
    for (const place of row.near) {
      const one = data.refs[place], entry = make("li");
      if (pictures[place]) entry.append(picture(place, ""));
      entry.append(named("", label(one.g), "b"));
      if (one.text !== null) {
        entry.append(make("span", "text", one.text));
        list.classList.add("texts");
      }
      entry.append(make("span", "id", one.id));
      list.append(entry);
    }
    return cell(name, list);
  }

  function decisionCell(i) {
    const row = data.rows[i], box = make("div", "decide");
    for (const [value, name] of [["accept", "Accept"], ["reject", "Reject"]]) {
      const button = make("button", value, name);
      button.type = "button";
      const kept = value === "accept" ? row.s : row.g;
      button.setAttribute("aria-label", name + " for row " + row.id + ", label becomes " + (label(kept) || "none"));
      button.disabled = !decidable(i, value);
      button.addEventListener("click", () => decide(i, value));
      box.append(button);
    }
    if (data.classes.length) box.append(chooser(i));
    return cell("", box);
  }

  // All classes, to choose one that was not suggested: a list, or an input where they are many.
  function chooser(i) {
    const field = make(few ? "select" : "input", "other");
    field.setAttribute("aria-label", "Another label for row " + data.rows[i].id);
    if (few) {
      options(field, [["", "Other…"], ...data.classes.map((name, k) => [k, name])]);
      field.addEventListener("change", () => relabel(i, field.value && data.classes[field.value]));
      return field;
    }
    field.placeholder = "Other…";
    field.setAttribute("list", "class-names");
    field.addEventListener("change", () => {
      const name = field.value ? typed.get(field.value) : "";
      field.setCustomValidity(name === undefined ? "No class has this name." : "");
      if (name === undefined) field.reportValidity();
      else relabel(i, name);
    });
    return field;
  }

  function line(i) {
    const row = data.rows[i], tr = make("tr");
    tr.tabIndex = -1;
    tr.dataset.i = i;
    const arrow = make("span", "arrow");
    arrow.setAttribute("aria-label", "suggested:");
    arrow.setAttribute("role", "img");
    const suggested = tag(row.s, "new", "no suggestion");
    const sure = row.q === null ? "" : make("div", "id", share(row.q) + " sure");
    const status = make("span", "pill"), dot = make("span", "dot s-" + data.statuses[row.st]);
    status.append(dot, data.statuses[row.st]);
    tr.append(
      itemCell(row),
      cell("Given → suggested", tag(row.g, "old", "no label"), arrow, suggested, sure),
      cell(data.ranking ? "Score of the given label" : "Given label is right", ...meter(row.p)),
      cell("Why", status, make("div", "small", row.why)),
      nearCell(row),
      decisionCell(i)
    );
    tr.addEventListener("focusin", () => (current = view.indexOf(i)));
    return tr;
  }

  function paint(i) {
    const tr = body.querySelector('tr[data-i="' + i + '"]');
    if (!tr) return;
    const value = choice(decisions.get(i)), field = tr.querySelector(".decide .other");
    for (const one of ["accept", "reject", "other"]) tr.classList.toggle(one, value === one);
    if (field) {
      // Keys pass over the classes of a list one by one: it shows what is accepted or rejected too.
      const name = value === "other" || (few && value) ? final(i) : "";
      field.value = field.localName === "input" ? name.replace(/[\r\n]/g, "") : name && data.classes.indexOf(name);
      field.title = name;
    }
    for (const button of tr.querySelectorAll(".decide button")) {
      button.setAttribute("aria-pressed", String(button.classList.contains(value)));
    }
  }

  function append(from) {
    body.append(...view.slice(from, shown).map(line));
    for (const i of view.slice(from, shown)) paint(i);
    byId("more").hidden = shown >= view.length;
    byId("more").textContent = "Show " + Math.min(STEP, view.length - shown) + " more of " + plural(view.length, "row");
    tally();
  }

  function render() {
    body.replaceChildren();
    append(0);
    byId("count").textContent = view.length ? plural(view.length, "row") + (view.length < data.rows.length ? " of " + data.rows.length.toLocaleString("en") : "") : "No row fits these filters.";
  }

  const undecided = () => view.filter((i) => !decisions.has(i) && decidable(i, "accept"));

  function tally() {
    const count = { accept: 0, reject: 0, other: 0 };
    for (const value of decisions.values()) count[choice(value)] += 1;
    byId("progress").textContent =
      count.accept + " accepted · " + count.reject + " rejected · " + (count.other ? count.other + " other · " : "") + (data.rows.length - decisions.size) + " open";
    const open = undecided().length;
    byId("accept-all").textContent = "Accept " + (view.length < data.rows.length ? open + " filtered" : "all " + open);
    byId("accept-all").disabled = !open;
    byId("undo").disabled = !undone.length;
    byId("export").disabled = !decisions.size;
  }

  // Export: every field is quoted, and no label is altered.

  const quoted = (text) => '"' + String(text).replaceAll('"', '""') + '"';

  function csv() {
    const lines = ["id,given_label,suggested_label,decision,label"];
    data.rows.forEach((row, i) => {
      const value = decisions.get(i);
      if (!value) return;
      lines.push([row.id, label(row.g), label(row.s), choice(value), final(i)].map(quoted).join(","));
    });
    return lines.join("\r\n") + "\r\n";
  }

  function exportCsv() {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    const link = make("a");
    link.href = url;
    link.download = "decisions-" + data.report.slice(0, 8) + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    unsaved = false;
    say("Exported: " + plural(decisions.size, "decision"));
  }

  // Keys.

  function go(step) {
    if (!view.length) return;
    current = Math.max(0, Math.min(view.length - 1, current + step));
    if (current >= shown) showMore();
    body.children[current].focus();
  }

  function showMore() {
    const from = shown;
    shown = Math.min(view.length, shown + STEP);
    append(from);
  }

  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && event.target === controls.search) event.target.blur();
    if (event.key === "Escape" && event.target.matches(".decide .other")) event.target.closest("tr").focus();
    if (busy || event.ctrlKey || event.metaKey || event.altKey || !byId("shortcuts").checked) return;
    const at = view[current];
    const acts = {
      j: () => go(1),
      k: () => go(-1),
      a: () => at !== undefined && decide(at, "accept"),
      r: () => at !== undefined && decide(at, "reject"),
      o: () => body.children[current]?.querySelector(".decide .other")?.focus(),
      u: undo,
      "/": () => controls.search.focus(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // Controls.

  function options(select, entries) {
    for (const [value, text] of entries) {
      const option = make("option", "", text);
      option.value = value;
      select.append(option);
    }
  }

  const places = new Set(data.rows.flatMap((row) => [row.g, row.s]).filter((place) => place >= 0));
  const classes = [...places].map((place) => [place, data.labels[place]]);
  options(controls["class-filter"], classes.sort((a, b) => collator.compare(a[1], b[1])));
  const statuses = [...new Set(data.rows.map((row) => row.st))].sort();
  options(controls["status-filter"], statuses.map((st) => [st, data.statuses[st]]));
  if (!few) options(byId("class-names"), [...typed.keys()].map((name) => [name, ""]));

  controls.search.addEventListener("input", filter);
  for (const id of ["class-filter", "status-filter", "decision-filter"]) controls[id].addEventListener("change", filter);
  controls.order.addEventListener("change", () => sortBy(controls.order.value, false));
  for (const button of document.querySelectorAll("#rows thead button")) {
    button.addEventListener("click", () => sortBy(button.dataset.order, true));
  }
  byId("accept-all").addEventListener("click", () => {
    const rows = undecided();
    change(rows.map((i) => [i, "accept"]));
    say("Accepted: " + plural(rows.length, "row"));
  });
  byId("undo").addEventListener("click", undo);
  byId("export").addEventListener("click", exportCsv);
  byId("more").addEventListener("click", showMore);
  window.addEventListener("beforeprint", () => {
    while (shown < view.length) showMore();
  });
  filter();
})();
