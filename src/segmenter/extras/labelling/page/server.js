// Questions to the service, and changes: one after the other, kept until they are acknowledged.

const RETRY_MS = 1000;

export class Refusal extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

async function checked(response) {
  if (response.ok) return response;
  let problem = { code: "no-answer", detail: `the service answered ${response.status}` };
  try { problem = await response.json(); } catch { /* no JSON, as of a proxy */ }
  throw new Refusal(problem.code, problem.detail);
}

function address(path, query) {
  return `api/${path}?${new URLSearchParams(query)}`;
}

export async function ask(path, query = {}) {
  return (await checked(await fetch(address(path, query)))).json();
}

export async function askBlob(path, query) {
  return (await checked(await fetch(address(path, query)))).blob();
}

// A map of labels with its height, width and headers.
export async function askLabels(path, query) {
  const response = await checked(await fetch(address(path, query)));
  const number = (name) => Number(response.headers.get(name));
  return {
    labels: new Uint8Array(await response.arrayBuffer()),
    height: number("x-height"), width: number("x-width"),
    version: number("x-version"), proposal: number("x-proposal"),
  };
}

export async function tell(path, body) {
  const headers = { "content-type": "application/json" };
  return (await checked(await fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body) }))).json();
}

// Changes to one image. Each is sent when the one before is acknowledged, with the version that this
// gave; while the service does not answer, it is sent again and again under the same id.
export class Changes {
  constructor(image, version, onWaiting) {
    this.image = image;
    this.version = version;
    this.onWaiting = onWaiting;
    this.last = Promise.resolve();
    this.count = 0; // of those that are not saved yet
    this.isLate = false;
    this.isClosed = false;
  }

  push(path, fields = {}) {
    this.count++;
    const id = crypto.randomUUID();
    const sent = this.last.then(() => this.#send(path, { ...fields, image: this.image, id }));
    const outcome = sent.finally(() => {
      this.count--;
      if (this.isLate) this.#tellWaiting(false);
    });
    this.last = outcome.catch(() => {});
    return outcome;
  }

  // The image is read anew: until then it takes no more.
  close() { this.isClosed = true; }

  #tellWaiting(isLate) {
    this.isLate = isLate;
    this.onWaiting();
  }

  async #send(path, fields) {
    for (;;) {
      try {
        const outcome = await tell(path, { ...fields, version: this.version });
        this.version = outcome.version;
        return outcome;
      } catch (error) {
        if (error instanceof Refusal && error.code !== "queue-full") throw error;
        this.#tellWaiting(true);
        await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
      }
    }
  }
}
