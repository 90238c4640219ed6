// Entries of the history that somebody has changed past everything: said in plain words, where they stand and at the top.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, NESTED, VERA, accessible, as, fits, flag, press, until } from "./support.js";

const forge = (name) => fetch(`${NESTED}/forge/${name}`, { method: "POST" });

test("a forged entry is marked, and a banner says so until it is as it was", async () => {
  await flag("forged_one", { enabled: true, percentage: 10 });
  const page = await as(VERA, "changes");
  const banner = page.getByRole("heading", { name: "The history failed verification" });
  const entries = page.getByRole("region", { name: "Changes" });
  try {
    await press(page, "Check the history now");
    await page.locator(".notice").getByText(/^All \d+ entr(y|ies) of the history are as they were written\.$/).waitFor();
    await page.getByText(/it is as it was written/).waitFor();
    assert.equal(await banner.count(), 0);

    await forge("forged_one");
    await press(page, "Check the history now");
    await banner.waitFor();
    await entries.getByText("Do not trust this entry.").waitFor();
    await entries.getByText(/entry \d+ of the history was changed after it was written/).waitFor();
    await page.getByText("1 break: see above, and below").waitFor();
    await accessible(page, "changes with a forged entry");
    await fits(page, "changes with a forged entry");
    const other = await as(ALICE, "flags/forged_one");
    await other.getByRole("region", { name: "History" }).getByText("Do not trust this entry.").waitFor();
  } finally {
    await forge("-");
  }
  await press(page, "Check the history now");
  await banner.waitFor({ state: "detached" });
  await until(async () => assert.equal(await entries.getByText("Do not trust this entry.").count(), 0));
});
