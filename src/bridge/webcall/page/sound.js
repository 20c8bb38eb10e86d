// Where the two tracks come from: a microphone, a second input, a tone, or a file. A real softphone takes the remote MediaStream instead.

let context;

function audio() {
  context ??= new AudioContext();
  return context;
}

/** A microphone, the default one for an empty id. Echo cancelling keeps the far end out of it. */
export async function microphone(deviceId) {
  const wish = { echoCancellation: true, noiseSuppression: false, autoGainControl: false };
  if (deviceId) wish.deviceId = { exact: deviceId };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
  return stream.getAudioTracks()[0];
}

/** A tone that an integrator recognises. */
export async function tone() {
  await audio().resume();
  const [oscillator, gain, out] = [audio().createOscillator(), audio().createGain(), audio().createMediaStreamDestination()];
  oscillator.frequency.value = 440;
  gain.gain.value = 0.2;
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return out.stream.getAudioTracks()[0];
}

/** A file, played once; `begin` starts it when the call is up. */
export async function file(chosen) {
  await audio().resume();
  const sound = await audio().decodeAudioData(await chosen.arrayBuffer());
  const [source, out] = [audio().createBufferSource(), audio().createMediaStreamDestination()];
  source.buffer = sound;
  source.connect(out);
  return { track: out.stream.getAudioTracks()[0], begin: () => source.start() };
}

/** Shows how loud a track is, until it is stopped. */
export function watch(track, meter) {
  const [source, analyser] = [audio().createMediaStreamSource(new MediaStream([track])), audio().createAnalyser()];
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    meter.value = Math.min(1, 4 * Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length));
  }, 100);
  return () => {
    clearInterval(timer);
    source.disconnect();
    meter.value = 0;
  };
}
