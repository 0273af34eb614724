import { mount } from "svelte";
import App from "./App.svelte";
import "./style.css";

const target = document.getElementById("app");
// The HTML has a frame of the page, which is there before this script.
target?.replaceChildren();
if (target) mount(App, { target });
