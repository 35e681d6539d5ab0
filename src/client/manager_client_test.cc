#include "client/manager_client.h"

#include <chrono>
#include <thread>

#include "varlink/test_service.h"

namespace loopfs::client {
namespace {

using varlink::Call;

// A daemon with one instance, which has no devices, and a short patience with who asks nothing.
class IdleClient : public testing::Test {
 protected:
  static varlink::Interface interface() {
    varlink::Interface interface {
      "io.loopfs.Manager", "interface io.loopfs.Manager\n", {}
    };
    interface.methods["List"] = [](Call& call) {
      (void)call.reply({{"instances", {{{"id", 1}, {"devices", varlink::Json::array()}}}}});
    };
    interface.methods["EditPartition"] = [](Call& call) { (void)call.reply(); };
    return interface;
  }
  bool connection_ends() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(varlink::kDeadline);
    while (!connection_.expired()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  std::weak_ptr<int> connection_;  // the newest
  varlink::TestService service_{
      {interface()},
      [this](const varlink::Peer&) -> Result<varlink::Admission> {
        auto share = std::make_shared<int>();
        connection_ = share;
        return varlink::Admission{nullptr, std::move(share)};
      },
      [](varlink::Server::Options& options) { options.idle = std::chrono::milliseconds(20); }};
};

TEST_F(IdleClient, ConnectsAgain) {
  ManagerClient client(service_.path());
  for (int i = 0; i < 3; ++i) {
    const auto devices = client.devices(1);
    ASSERT_TRUE(devices) << devices.error().message();
    ASSERT_TRUE(connection_ends());
    // Not made twice where the daemon could have done it once.
    const auto edited = client.edit_partition(1, 0, {});
    ASSERT_TRUE(edited) << edited.error().message();
    ASSERT_TRUE(connection_ends());
  }
}

}  // namespace
}  // namespace loopfs::client
