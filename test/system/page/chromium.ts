// A real browser for the tests of the page: the Chromium of the system, if there is one.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, type TestContext } from "node:test";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = process.env.DEBUG_SERVER_DB_TEST_CHROMIUM ?? paths.find((path) => existsSync(path));

/** The reason for which tests of the page are skipped, or false. */
export const noBrowser: string | false =
  executablePath === undefined
    ? "there is no Chromium: install it, or name it in DEBUG_SERVER_DB_TEST_CHROMIUM"
    : false;

let browser: Promise<Browser> | undefined;

function launch(): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: executablePath as string, args: ["--no-sandbox", "--disable-gpu"] });
  return browser;
}

after(async () => (await browser)?.close());

export interface OpenedPage {
  readonly page: Page;
  /** Faults, which no page may have: errors, violations of its policy, requests to other hosts. */
  readonly faults: string[];
}

/** Opens a tab. When the test ends, it must have had no faults. */
export async function openTab(t: TestContext, options: BrowserContextOptions = {}): Promise<OpenedPage> {
  const context = await (await launch()).newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A request that was refused, or a server that is away, is shown by the page itself.
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) faults.push(message.text());
  });
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  let origin: string | undefined;
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol === "data:" || url.protocol === "blob:") return;
    origin ??= url.origin;
    if (url.origin !== origin) faults.push(`request to ${url.origin}`);
  });
  await page.addInitScript(`addEventListener("securitypolicyviolation", (event) =>
    console.error("policy: " + event.violatedDirective + " " + event.blockedURI));`);
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return { page, faults };
}

/** Opens the page of a server, and signs in. */
export async function openSignedIn(
  t: TestContext,
  url: string,
  token: string,
  options: BrowserContextOptions = {},
  hash = "",
): Promise<OpenedPage> {
  const opened = await openTab(t, options);
  await opened.page.addInitScript(`sessionStorage.setItem("debug-server-db.token", ${JSON.stringify(token)});`);
  await opened.page.goto(`${url}/${hash}`);
  return opened;
}
