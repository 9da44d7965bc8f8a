const LENGTH = 25 * 60;
const time = document.querySelector("#time");
const start = document.querySelector("#start");
let left = LENGTH;
let beat;

function show() {
  const two = (n) => String(n).padStart(2, "0");
  time.textContent = `${two(Math.floor(left / 60))}:${two(left % 60)}`;
  start.textContent = beat ? "Pause" : "Start";
}

function pause() {
  clearInterval(beat);
  beat = undefined;
}

start.addEventListener("click", () => {
  if (beat) pause();
  else
    beat = setInterval(() => {
      left -= 1;
      if (left === 0) pause();
      show();
    }, 1000);
  show();
});

document.querySelector("#again").addEventListener("click", () => {
  pause();
  left = LENGTH;
  show();
});
