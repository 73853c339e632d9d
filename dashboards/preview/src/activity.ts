// Whether the page is drawn: `data-state` of the document is `loading`, then `done`, for those who take pictures of it.

/** Answers are drawn before this time is over. */
const QUIET_MS = 100;

let running = 0;
let isShown = false;
let timer = 0;

function settle(): void {
  document.documentElement.dataset.state = 'loading';
  window.clearTimeout(timer);
  timer = window.setTimeout(() => {
    if (running === 0 && isShown) {
      document.documentElement.dataset.state = 'done';
    }
  }, QUIET_MS);
}

/** Whether all panels of a dashboard are on the page. */
export function shown(is: boolean): void {
  isShown = is;
  settle();
}

/** Another address: what is drawn is no longer what it names. */
export const moved = settle;

export async function tracked<T>(work: Promise<T>): Promise<T> {
  running += 1;
  settle();
  try {
    return await work;
  } finally {
    running -= 1;
    settle();
  }
}
