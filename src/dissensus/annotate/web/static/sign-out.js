// Ends the session. What waits in this browser for the network is kept, and said.
const button = document.getElementById("sign-out");
button?.addEventListener("click", async () => {
  let waits = false;
  try {
    waits = Object.keys(localStorage).some((name) => name.startsWith("dissensus/") && name.includes("/outbox/"));
  } catch {
    // a browser that keeps nothing
  }
  if (waits && !confirm("Some answers are not saved yet; they stay in this browser. Sign out all the same?")) return;
  try {
    const reply = await fetch("/api/session", { method: "DELETE" });
    if (reply.ok) location.assign("/");
    else alert("Signing out failed; try again.");
  } catch {
    alert("There is no network now; try again.");
  }
});
