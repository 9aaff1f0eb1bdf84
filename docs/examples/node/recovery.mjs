// The whole client of recoveryd. A report resolves when it is stored; acknowledge only then.
import { headers } from "@nats-io/transport-node";

// The headers of the message, without those that tell the server what to do with it.
function echo(msg) {
  const h = headers();
  for (const [name, values] of msg.headers ?? []) {
    if (/^(nats-.*|kv-operation|status|description)$/i.test(name)) continue;
    for (const value of values) h.append(name, value);
  }
  return h;
}

export async function failed(js, msg, error) {
  const h = echo(msg);
  const set = (name, value) => value === undefined ? h.delete(name) : h.set(name, String(value).replace(/\s+/g, " ").slice(0, 1000));
  set("Recovery-Error", error?.message ?? error);
  set("Recovery-Code", error?.code); // 429, ECONNREFUSED
  set("Recovery-Class", error?.class); // permanent, throttled, timeout, ignored
  set("Recovery-Retry-After", error?.retryAfter); // seconds
  set("Recovery-Occurred-At", new Date().toISOString());
  set("Recovery-Stream", msg.info.stream);
  set("Recovery-Consumer", msg.info.consumer);
  set("Recovery-Sequence", msg.info.streamSequence);
  set("Recovery-Deliveries", msg.info.deliveryCount);
  await js.publish(`recovery.failed.${msg.subject}`, msg.data, { headers: h });
}

export async function succeeded(js, msg) {
  if (!msg.headers?.has("Recovery-Seal")) return; // it never failed
  await js.publish(`recovery.succeeded.${msg.subject}`, "", { headers: echo(msg) });
}
