// The token stands behind the #, which browsers keep to themselves; it leaves this page in one POST.
const start = document.getElementById("start");
const said = document.getElementById("said");
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

if (token) start.disabled = false;
else said.textContent = "This address is not complete: the part behind the # is missing. Open the link as it was sent to you.";

start.addEventListener("click", async () => {
  start.disabled = true;
  said.textContent = "";
  try {
    const reply = await fetch("/api/session", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    const body = await reply.json();
    if (reply.ok) {
      location.replace(body.home);
      return;
    }
    said.textContent = `Sorry: ${body.detail}.`;
    start.disabled = reply.status < 429;
  } catch {
    said.textContent = "The server cannot be reached; your link is still good. Try again.";
    start.disabled = false;
  }
});
