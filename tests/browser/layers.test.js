// Flags that other layers than the store define.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, NESTED, as } from "./support.js";

test("a flag that a variable alone defines is listed, and shown without what cannot be done to it here", async () => {
  const page = await as(ALICE, "", { base: `${NESTED}/env` });
  const row = page.locator("[data-flag=use_fastzip]");
  await row.getByText("From env").waitFor();
  assert.match(await row.innerText(), /On for some[^]*25\s%/);
  assert.equal(await page.locator("[data-flag=dark_mode]").getByText("From env").count(), 0);

  await row.getByRole("link", { name: "use_fastzip" }).click();
  await page.getByRole("heading", { level: 1, name: "use_fastzip" }).waitFor();
  await page.getByText("env defines this flag. Change it there: the store has no flag of this name.").waitFor();
  await page.getByText("FF_USE_FASTZIP").first().waitFor();
  for (const name of ["Kill…", "Restore…", "Change…", "Edit…", "Remove…"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);

  await page.goto(`${NESTED}/env/#/flags/dark_mode`);
  await page.getByRole("button", { name: "Kill…" }).waitFor();
});
