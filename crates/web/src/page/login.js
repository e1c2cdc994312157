"use strict";

// The token goes in a header, so that it stays in no address, no history and no log.
document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = document.getElementById("problem");
  const token = document.getElementById("token").value.trim();
  problem.textContent = "";
  if (!/^[\x21-\x7e]+$/.test(token)) {
    problem.textContent = "A token has no spaces and only ASCII characters.";
    return;
  }
  try {
    const reply = await fetch("login", { headers: { Authorization: `Bearer ${token}` } });
    if (reply.ok) {
      location.reload();
    } else if (reply.status === 429) {
      problem.textContent = `Too many wrong tokens: try again in ${reply.headers.get("retry-after")} s.`;
    } else {
      problem.textContent = "The token is wrong.";
    }
  } catch {
    problem.textContent = "The program does not answer.";
  }
});
