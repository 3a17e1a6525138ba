// The playhead follows the player, and a click on the timeline moves the player there.
const track = () => element.querySelector(".track");

document.addEventListener("timeupdate", (event) => {
  const playhead = element.querySelector(".playhead");
  if (playhead && event.target instanceof HTMLVideoElement) {
    const share = event.target.currentTime / Number(track().dataset.seconds);
    playhead.style.left = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  }
}, true); // media events don't bubble

element.addEventListener("click", (event) => {
  const player = document.querySelector("#player video");
  if (!player || !event.target.closest(".track")) return;
  const { left, width } = track().getBoundingClientRect();
  player.currentTime = ((event.clientX - left) / width) * Number(track().dataset.seconds);
});

// A recording names no length; browsers find it when they are sent to its end.
document.addEventListener("loadedmetadata", ({ target }) => {
  if (target.duration !== Infinity || target.srcObject) return;
  target.addEventListener("durationchange", () => { target.currentTime = 0; }, { once: true });
  target.currentTime = 1e9;
}, true);
