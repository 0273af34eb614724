import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // Tables state their roles, because Safari drops them when CSS lays out a table as cards.
    warningFilter: ({ code }) => code !== "a11y_no_redundant_roles",
  },
};
