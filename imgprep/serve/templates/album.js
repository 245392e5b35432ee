
// The server as a host of the gallery: pictures by address, uploads and deletions with the page blocked meanwhile.

const LARGEST = 2048;  // the longest side that is sent; the rest of a photograph is nobody's use here
const PIECE = 8 << 20;  // bytes of a film that go in one request
const take = id => document.getElementById(id);

async function ask(path, given = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...(given.headers || {}), ...(key ? { authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(path, { ...given, headers });
  if (answer.status === 401) {
    const typed = prompt("Your key for this album");
    if (!typed) throw new Error("a key is needed");
    sessionStorage.setItem("key", typed.trim());
    return ask(path, given);
  }
  return answer;
}

async function said(answer) {
  if (answer.ok) return "";
  try { return (await answer.json()).error || answer.statusText } catch { return answer.statusText }
}

async function show() {
  const answer = await ask("/v1/album");
  const data = await answer.json();
  take("gallery").replaceWith(Object.assign(document.createElement("div"), { id: "gallery" }));
  globalThis.gallery = imgprepGallery(take("gallery"), {
    kind: "server", data, style: take("style").textContent,
    picture: i => data.small[i], large: i => data.large[i],
    remove: rows => working("Deleting", rows.map(i => data.id[i]),
      async id => said(await ask(`/v1/objects/${id}`, { method: "DELETE" }))),
    decide: corrections => ask("/v1/corrections", { method: "POST", body: JSON.stringify({ corrections }) }),
  });
  // What is done with chosen pictures stands where our own buttons are.
  const acts = gallery.root.querySelector(".acts");
  const makeRoom = () => { take("bar").hidden = acts.classList.contains("open") };
  new MutationObserver(makeRoom).observe(acts, { attributeFilter: ["class"] });
  makeRoom();
  performance.mark("ready");
}

// A photograph of a phone is shrunk before it is sent; what the browser cannot open goes as it is.
async function smaller(file) {
  if (!/^image\/(jpeg|png|webp)$/.test(file.type)) return file;
  let picture;
  try { picture = await createImageBitmap(file, { imageOrientation: "from-image" }) } catch { return file }
  const scale = LARGEST / Math.max(picture.width, picture.height);
  if (scale >= 1) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise(done => canvas.toBlob(blob => done(blob || file), "image/jpeg", .92));
}

// A film is sent in pieces (tus): it may be far larger than what one request holds.
async function sendPieces(file) {
  const tus = { "tus-resumable": "1.0.0" };
  const called = btoa(String.fromCharCode(...new TextEncoder().encode(file.name || "")));
  const begun = await ask("/v1/uploads", {
    method: "POST", headers: { ...tus, "upload-length": file.size, "upload-metadata": `filename ${called}` },
  });
  if (!begun.ok) return said(begun);
  for (let at = 0; at < file.size; at += PIECE) {
    const headers = { ...tus, "upload-offset": at, "content-type": "application/offset+octet-stream" };
    const body = file.slice(at, at + PIECE);
    const why = await said(await ask(begun.headers.get("location"), { method: "PATCH", headers, body }));
    if (why) return why;
  }
  return "";
}

async function put(file) {
  if (/^video\//.test(file.type)) return sendPieces(file);
  const name = encodeURIComponent(file.name || "");
  return said(await ask(`/v1/objects?name=${name}`, { method: "PUT", body: await smaller(file) }));
}

async function working(verb, all, one) {
  const refused = [];
  take("refused").replaceChildren();
  take("closing").hidden = true;
  take("progress").max = all.length;
  take("busy").showModal();
  for (const [n, each] of all.entries()) {
    take("doing").textContent = `${verb} ${n + 1} of ${all.length}`;
    take("progress").value = n;
    let why;
    try { why = await one(each) } catch (error) { why = error.message }
    if (why) refused.push(`${each.name || each}: ${why}`);
  }
  await show();
  if (!refused.length) return take("busy").close();
  take("doing").textContent = `${refused.length} of ${all.length} not done`;
  take("refused").append(...refused.map(text => Object.assign(document.createElement("li"), { textContent: text })));
  take("closing").hidden = false;
}

take("closing").onclick = () => take("busy").close();
take("busy").addEventListener("cancel", event => { if (take("closing").hidden) event.preventDefault() });
take("files").onchange = event => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) working("Uploading", files, put);
};
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  const files = [...event.dataTransfer.files];
  if (files.length) working("Uploading", files, put);
});
show();
