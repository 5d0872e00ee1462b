// Ask the service with the key of this tab, and put every error into words.

// Several services may share an origin behind path prefixes: each has a key of its own.
const NAME = `player-sessions key of ${new URL(".", document.baseURI).pathname}`;
const BUSY_TRIES = 5;
const COUNTING_TRIES = 120;
const LONGEST_PAUSE = 30; // seconds

export const key = {
  get: () => sessionStorage.getItem(NAME) ?? "",
  keep: (text) => sessionStorage.setItem(NAME, text),
  forget: () => sessionStorage.removeItem(NAME),
};

// An error in words for people. `tries` is how often it is worth asking again by itself.
export class Failure extends Error {
  constructor(words, { status = 0, tries = 0, pause = 0 } = {}) {
    super(words);
    Object.assign(this, { status, tries, pause });
  }
}

// Return the document at a path of the interface; ask again where the service says "not now".
export async function ask(path, { signal, say }) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await askOnce(path, signal);
    } catch (error) {
      if (!(error instanceof Failure) || tried > error.tries) throw error;
      say(`${error.message} This page asks again by itself.`);
      await sleep(error.pause, signal);
    }
  }
}

async function askOnce(path, signal) {
  const headers = { Accept: "application/json" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), { headers, signal, cache: "no-store" });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Failure("The service cannot be reached.");
  }
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}

async function failure(answer) {
  const { status } = answer;
  const problem = await answer.json().catch(() => ({})); // a proxy may answer with a page
  if (status === 503) {
    const asked = Number(answer.headers.get("Retry-After")) || 1;
    const pause = Math.min(Math.max(asked, 1), LONGEST_PAUSE);
    if (problem.type?.endsWith("still-counting")) {
      return new Failure("The service is still counting.", { status, pause, tries: COUNTING_TRIES });
    }
    return new Failure("The service is busy or not ready.", { status, pause, tries: BUSY_TRIES });
  }
  return new Failure(words(status, problem), { status });
}

function words(status, problem) {
  switch (status) {
    case 401:
      return key.get() ? "The service does not know this key." : "The service asks for a key.";
    case 403:
      return "This key may not read. It needs the scope “read”.";
    case 404:
      return "The service does not offer this: it is switched off, or the release is older.";
    default:
      return `${problem.title ?? "The service answered with an error"} (${status}). ${problem.detail ?? ""}`;
  }
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
