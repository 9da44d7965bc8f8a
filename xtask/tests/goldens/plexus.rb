class Plexus < Formula
  desc "Local gateway between AI agents and the apps of one person"
  homepage "https://example.invalid/p"
  url "https://example.invalid/p/plexus-0-aarch64-apple-darwin.app.tar.gz"
  version "0"
  sha256 "ab12"
  license any_of: ["MIT", "Apache-2.0"]

  # The application stays whole, for its signature is over all of it; what is typed starts the programs inside.
  def install
    prefix.install "Plexus.app"
    %w[plexus plexusctl plexusd].each do |name|
      bin.write_exec_script prefix/"Plexus.app/Contents/MacOS"/name
    end
  end

  service do
    run [opt_prefix/"Plexus.app/Contents/MacOS/plexusd", "--under-launchd"]
    keep_alive successful_exit: false
    environment_variables PLEXUS_HOME: "#{Dir.home}/.plexus"
  end

  def caveats
    <<~EOS
      Start the gateway with: brew services start plexus
      `plexusctl service install` would name the folder of this version, which the next upgrade removes.
      macOS asks for Calendar, Reminders and Automation when a source needs them, and may ask again after an upgrade.
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/plexusd --version")
    assert_predicate prefix/"Plexus.app/Contents/MacOS/plexus-sandbox-exec", :executable?
  end
end
