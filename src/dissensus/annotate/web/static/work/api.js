// Asking the server. A request that never got there is told apart from one that was refused.

export class Unreachable extends Error {}

export class Refused extends Error {
  constructor(status, body, wait) {
    super(body?.detail ?? `the server answered ${status}`);
    this.status = status;
    this.current = body?.current ?? null;
    this.wait = wait;
  }
}

export async function ask(method, path, body) {
  let reply;
  try {
    reply = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    });
  } catch {
    throw new Unreachable();
  }
  if (reply.status === 204) return null;
  const content = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(reply.status, content, Number(reply.headers.get("Retry-After")) || 0);
  if (content === null) throw new Unreachable(); // cut off on the way, or answered by something else
  return content;
}
