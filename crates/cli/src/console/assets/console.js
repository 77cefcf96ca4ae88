// Live updates, and files for a form. Without this script, every page works; only the lists do not follow the cluster by
// themselves, and a text is pasted.
"use strict";

/** Replaces the list whenever the console has another one, until the page is left or the session ends. */
async function follow(list) {
  let address = list.dataset.live;
  while (address && list.isConnected) {
    let answer;
    try {
      answer = await fetch(address, { credentials: "same-origin", redirect: "error" });
    } catch {
      say("The console does not answer. Was it ended in the terminal? This page shows what was read last.");
      await new Promise((resolve) => setTimeout(resolve, 3000));
      continue;
    }
    if (answer.status === 401) {
      say("The session has ended. The terminal shows an address that opens another one.");
      return;
    }
    if (!answer.ok) {
      say("The console cannot update this list. Load the page again.");
      return;
    }
    const next = answer.headers.get("x-writgate-next");
    const text = await answer.text();
    say("");
    if (next !== address) {
      show(list, text);
      address = next;
    }
  }
}

/** Shows a part of a page that the console has rendered and escaped. The link that has the focus keeps it. */
function show(list, text) {
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const part = new DOMParser().parseFromString(text, "text/html");
  list.replaceChildren(...part.body.childNodes);
  if (focused !== null) {
    for (const link of list.querySelectorAll("a")) {
      if (link.getAttribute("href") === focused) link.focus();
    }
  }
}

/** Says something above the list; an empty text removes it. */
function say(text) {
  let note = document.getElementById("news");
  if (!note) {
    if (!text) return;
    note = document.createElement("p");
    note.id = "news";
    note.className = "message";
    note.setAttribute("role", "alert");
    document.querySelector("main").prepend(note);
  }
  if (note.textContent !== text) note.textContent = text;
  note.hidden = !text;
}

const list = document.querySelector("[data-live]");
if (list) follow(list);

/** Puts the text of chosen or dropped files into the field that `data-into` names. */
const chooser = document.querySelector("[data-into]");
if (chooser) {
  chooser.parentElement.hidden = false;
  chooser.addEventListener("change", async () => {
    const texts = await Promise.all([...chooser.files].map((file) => file.text()));
    document.getElementById(chooser.dataset.into).value = texts.join("\n---\n");
  });
}
