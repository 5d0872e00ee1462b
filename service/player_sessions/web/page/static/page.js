// Bring the page to life: its key, the look-up of a player, and the starts per country.

import { key } from "./client.js";
import { Countries } from "./countries.js";
import { find } from "./elements.js";
import { Player } from "./player.js";

const { countryHours, keys } = document.documentElement.dataset;
const details = find("#key");
const input = find("#key-input");
const status = find("#key-status");

function showKey(words = "") {
  find("#key-state").textContent = key.get() ? "kept for this tab" : "none";
  find("#key-forget").hidden = !key.get();
  status.textContent = words;
}

// The service refused a request. Only someone who waits for the answer is led to the key.
function onRefused(words, byUser) {
  details.open = true;
  showKey(words);
  if (byUser) input.focus();
}

const player = new Player(onRefused);
const countries = new Countries(onRefused, Number(countryHours));
const hasCountries = Number(countryHours) > 0;
find("#countries").hidden = !hasCountries;

find("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(text)) {
    showKey("A key has letters, digits and signs, without blanks.");
    return;
  }
  key.keep(text);
  input.value = "";
  showKey("The key is kept for this tab.");
  for (const section of [player, countries]) if (section.refused) section.repeat();
  if (hasCountries && !countries.work) countries.count({ byUser: false });
});

find("#key-forget").addEventListener("click", () => {
  key.forget();
  showKey("The key is forgotten.");
  input.focus();
});

showKey();
if (keys === "on" && !key.get()) {
  details.open = true;
  showKey("The service asks for a key.");
} else if (hasCountries) {
  countries.count({ byUser: false });
}
